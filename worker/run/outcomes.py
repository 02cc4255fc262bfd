"""Outcomes of attempts."""

import signal
from dataclasses import dataclass
from typing import assert_never

from ttm_core.spec.events import Failed, Finished, Result, StageFinished, Stopped
from ttm_jobs.repositories.jobs import lifecycle
from ttm_jobs.repositories.jobs.lifecycle import Failure


@dataclass(frozen=True)
class Succeeded:
    result: Result


@dataclass(frozen=True)
class StageSucceeded:
    """The run of a study's stage without a student has ended."""

    stage: StageFinished


@dataclass(frozen=True)
class ReachedEpoch:
    """The trainer paused itself after an epoch. `accuracy` is the best validation accuracy so far."""

    epoch: int
    accuracy: float


@dataclass(frozen=True)
class Rejected:
    """The job fails without a retry."""

    failure: Failure


@dataclass(frozen=True)
class Broken:
    """An infrastructure error; the job is retried while attempts are left."""

    failure: Failure


@dataclass(frozen=True)
class Released:
    """Stopped on request."""

    reason: str


Outcome = Succeeded | StageSucceeded | ReachedEpoch | Rejected | Broken | Released

# Stop reasons that fail the job.
_FINAL = {
    "deadline_exceeded": lifecycle.EXCEEDED,
    "time_limit_exceeded": Failure(
        "time_limit_exceeded", "The attempt exceeded the service's time limit.", origin="user", retryable=False
    ),
}


def outcome_of(
    last: Finished | StageFinished | Stopped | Failed | None,
    returncode: int,
    asked_to_stop: str | None,
    *,
    oom_killed: bool = False,
) -> Outcome:
    """The outcome for a trainer's last event and exit status.

    `asked_to_stop` is the reason if we requested the stop. `oom_killed`: the kernel killed a process for lack of
    memory.
    """
    match last:
        case Finished():
            return Succeeded(last.result)
        case StageFinished():
            return StageSucceeded(last)
        case Failed():
            failure = Failure(last.code, last.message, last.origin, last.retryable)
            return Broken(failure) if last.retryable else Rejected(failure)
        case Stopped(epoch=int(epoch), best_top1=float(accuracy)):
            return ReachedEpoch(epoch, accuracy)
        case Stopped() | None if asked_to_stop is not None:
            return stopped(asked_to_stop)
        case Stopped():
            return broken("trainer_stopped", "The trainer received a stop signal that its worker did not send.")
        case None if oom_killed and returncode == -signal.SIGKILL:
            # Another process may have used the memory, so this is retried, unlike the trainer's own limit.
            return broken("out_of_memory", "The system ran out of memory and killed the trainer.")
        case None:
            return broken("trainer_died", _cause_of(returncode))
        case _:
            assert_never(last)


def stopped(reason: str) -> Released | Rejected:
    """The outcome of a stop for this reason."""
    final = _FINAL.get(reason)
    return Released(reason) if final is None else Rejected(final)


def broken(code: str, message: str) -> Broken:
    return Broken(Failure(code, message, origin="system", retryable=True))


def too_large(held: int, limit: int) -> Rejected:
    """The trainer exceeded its memory limit."""
    message = (
        f"The trainer used {held / 1024**2:,.0f} MiB of memory; the limit is {limit / 1024**2:,.0f} MiB. "
        "Reduce batch_size or image_size."
    )
    return Rejected(Failure("out_of_memory", message, origin="user", retryable=False))


def _cause_of(returncode: int) -> str:
    if returncode == -signal.SIGKILL:
        return "The trainer was killed (SIGKILL), by the kernel for lack of memory or manually."
    if returncode < 0:
        return f"The trainer was terminated by {signal.Signals(-returncode).name}."
    return f"The trainer exited with status {returncode} without a final event; see its log."
