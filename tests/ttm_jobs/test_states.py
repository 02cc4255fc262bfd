import pytest

from ttm_jobs.errors import InvalidTransition
from ttm_jobs.states import HELD, TERMINAL, TRANSITIONS, JobState, check_transition


def test_every_state_has_its_moves() -> None:
    assert set(TRANSITIONS) == set(JobState)


def test_terminal_states_are_the_three_ends() -> None:
    assert {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED} == TERMINAL


def test_every_state_can_be_reached_and_left_for_an_end() -> None:
    reached = {JobState.QUEUED}
    while (more := reached.union(*(TRANSITIONS[state] for state in reached))) != reached:
        reached = more
    assert reached == set(JobState)
    for state in set(JobState) - TERMINAL:
        assert TRANSITIONS[state], f"{state} is a trap"


def test_held_states_can_only_be_entered_from_the_queue_or_from_each_other_or_on_the_way_out() -> None:
    for state, following in TRANSITIONS.items():
        if JobState.RUNNING in following:
            assert state is JobState.QUEUED
    assert not HELD & TERMINAL


@pytest.mark.parametrize("state", list(JobState))
@pytest.mark.parametrize("to", list(JobState))
def test_check_move_is_the_table(state: JobState, to: JobState) -> None:
    if to in TRANSITIONS[state]:
        check_transition(state, to)
    else:
        with pytest.raises(InvalidTransition, match=f"{state} cannot become {to}"):
            check_transition(state, to)
