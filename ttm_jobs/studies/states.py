"""StudyState and the table of transitions."""

from enum import StrEnum

from ttm_jobs.errors import InvalidTransition


class StudyState(StrEnum):
    """The state of a study. A running study also has a stage."""

    RUNNING = "running"
    # Its jobs are paused, and no further one is created.
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


STUDY_TRANSITIONS: dict[StudyState, frozenset[StudyState]] = {
    StudyState.RUNNING: frozenset({StudyState.PAUSED, StudyState.SUCCEEDED, StudyState.FAILED, StudyState.CANCELLED}),
    # SUCCEEDED or FAILED while paused: the deadline passed.
    StudyState.PAUSED: frozenset({StudyState.RUNNING, StudyState.SUCCEEDED, StudyState.FAILED, StudyState.CANCELLED}),
    StudyState.SUCCEEDED: frozenset(),
    StudyState.FAILED: frozenset(),
    StudyState.CANCELLED: frozenset(),
}

ENDED = frozenset(state for state, following in STUDY_TRANSITIONS.items() if not following)


def check_study_transition(current: StudyState, to: StudyState) -> None:
    """Raises InvalidTransition for a transition that is not in the table."""
    if to not in STUDY_TRANSITIONS[current]:
        raise InvalidTransition(f"A study that is {current} cannot become {to}.")
