"""JobState and its table of moves."""

from enum import StrEnum

from ttm_jobs.errors import IllegalMove


class JobState(StrEnum):
    """Where a job stands. Beside it, a running job has a phase, which the trainer reports."""

    # Accepted and waiting for a worker; also after an attempt that may be repeated.
    QUEUED = "queued"
    # A worker holds the lease.
    RUNNING = "running"
    # Its end is wished. The holder, if there is one, still has to let go and may record its last checkpoint.
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    # A rest is wished. The holder still has to save its checkpoint and let go.
    PAUSING = "pausing"
    # Held by nobody; goes on from its last checkpoint when resumed.
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


MOVES: dict[JobState, frozenset[JobState]] = {
    # Failed while it waited or rested: its deadline passed.
    JobState.QUEUED: frozenset({JobState.RUNNING, JobState.CANCELLING, JobState.PAUSING, JobState.FAILED}),
    JobState.RUNNING: frozenset(
        {JobState.QUEUED, JobState.CANCELLING, JobState.PAUSING, JobState.SUCCEEDED, JobState.FAILED}
    ),
    # A student finished after the wish to cancel is dropped: the user was told that it would be.
    JobState.CANCELLING: frozenset({JobState.CANCELLED}),
    # A run that ended before the wish to pause reached it keeps its end.
    JobState.PAUSING: frozenset({JobState.PAUSED, JobState.CANCELLING, JobState.SUCCEEDED, JobState.FAILED}),
    JobState.PAUSED: frozenset({JobState.QUEUED, JobState.CANCELLING, JobState.FAILED}),
    JobState.CANCELLED: frozenset(),
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset(),
}

TERMINAL = frozenset(state for state, following in MOVES.items() if not following)

# The states in which a worker may hold the lease.
HELD = frozenset({JobState.RUNNING, JobState.CANCELLING, JobState.PAUSING})


def check_move(current: JobState, to: JobState) -> None:
    """Raises IllegalMove for a move that the table does not have."""
    if to not in MOVES[current]:
        raise IllegalMove(f"A job that is {current} cannot become {to}.")
