"""JobState and the table of transitions."""

from enum import StrEnum

from ttm_jobs.errors import InvalidTransition


class JobState(StrEnum):
    """The state of a job. A running job also has a phase, which the trainer reports."""

    # Waiting for a worker, initially or for another attempt.
    QUEUED = "queued"
    # A worker holds the lease.
    RUNNING = "running"
    # Cancellation was requested; the worker may still record a last checkpoint.
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    # A pause was requested; the worker still has to save its checkpoint.
    PAUSING = "pausing"
    # Not held by a worker; resumes from its last checkpoint.
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


TRANSITIONS: dict[JobState, frozenset[JobState]] = {
    # FAILED while not running: the deadline passed.
    JobState.QUEUED: frozenset({JobState.RUNNING, JobState.CANCELLING, JobState.PAUSING, JobState.FAILED}),
    JobState.RUNNING: frozenset(
        {JobState.QUEUED, JobState.CANCELLING, JobState.PAUSING, JobState.SUCCEEDED, JobState.FAILED}
    ),
    # A student finished after the cancel request is discarded, as the response to the request said.
    JobState.CANCELLING: frozenset({JobState.CANCELLED}),
    # A run that ended before the pause request reached it keeps its result.
    JobState.PAUSING: frozenset({JobState.PAUSED, JobState.CANCELLING, JobState.SUCCEEDED, JobState.FAILED}),
    JobState.PAUSED: frozenset({JobState.QUEUED, JobState.CANCELLING, JobState.FAILED}),
    JobState.CANCELLED: frozenset(),
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset(),
}

TERMINAL = frozenset(state for state, following in TRANSITIONS.items() if not following)

# The states in which a worker may hold the lease.
HELD = frozenset({JobState.RUNNING, JobState.CANCELLING, JobState.PAUSING})


def check_transition(current: JobState, to: JobState) -> None:
    """Raises InvalidTransition for a transition that is not in the table."""
    if to not in TRANSITIONS[current]:
        raise InvalidTransition(f"A job that is {current} cannot become {to}.")
