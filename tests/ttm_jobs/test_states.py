import pytest

from ttm_jobs.errors import InvalidTransition
from ttm_jobs.states import HELD, TERMINAL, TRANSITIONS, JobState, check_transition


def test_every_state_has_transitions() -> None:
    assert set(TRANSITIONS) == set(JobState)


def test_there_are_three_terminal_states() -> None:
    assert {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED} == TERMINAL


def test_every_state_is_reachable_and_leads_to_a_terminal_state() -> None:
    reached = {JobState.QUEUED}
    while (more := reached.union(*(TRANSITIONS[state] for state in reached))) != reached:
        reached = more
    assert reached == set(JobState)
    for state in set(JobState) - TERMINAL:
        assert TRANSITIONS[state], f"{state} has no outgoing transition"


def test_only_queued_jobs_start_running() -> None:
    for state, following in TRANSITIONS.items():
        if JobState.RUNNING in following:
            assert state is JobState.QUEUED
    assert not HELD & TERMINAL


@pytest.mark.parametrize("state", list(JobState))
@pytest.mark.parametrize("to", list(JobState))
def test_check_move_matches_the_transition_table(state: JobState, to: JobState) -> None:
    if to in TRANSITIONS[state]:
        check_transition(state, to)
    else:
        with pytest.raises(InvalidTransition, match=f"{state} cannot become {to}"):
            check_transition(state, to)
