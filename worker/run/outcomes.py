"""How an attempt can end, before the record is told."""

import signal
from dataclasses import dataclass
from typing import assert_never

from ttm_core.spec.events import Failed, Finished, Result, Stopped
from ttm_jobs.repositories.jobs import lifecycle
from ttm_jobs.repositories.jobs.lifecycle import Failure


@dataclass(frozen=True)
class Succeeded:
    result: Result


@dataclass(frozen=True)
class Rejected:
    """Trying again would change nothing."""

    failure: Failure


@dataclass(frozen=True)
class Broken:
    """An infrastructure error; the job has further attempts, if any are left."""

    failure: Failure


@dataclass(frozen=True)
class Released:
    """Stopped because we asked for it."""

    reason: str


Outcome = Succeeded | Rejected | Broken | Released

# Reasons to ask for a stop after which the job has failed.
_FINAL = {
    "deadline_exceeded": lifecycle.EXCEEDED,
    "time_limit_exceeded": Failure(
        "time_limit_exceeded", "The attempt took longer than this service allows.", origin="user", retryable=False
    ),
}


def outcome_of(
    last: Finished | Stopped | Failed | None, returncode: int, asked_to_stop: str | None, *, oom_killed: bool = False
) -> Outcome:
    """What a trainer's last event and exit status mean, `asked_to_stop` being the reason, if we asked. `oom_killed`:
    the system killed for want of memory meanwhile.
    """
    match last:
        case Finished():
            return Succeeded(last.result)
        case Failed():
            failure = Failure(last.code, last.message, last.origin, last.retryable)
            return Broken(failure) if last.retryable else Rejected(failure)
        case Stopped() | None if asked_to_stop is not None:
            return stopped(asked_to_stop)
        case Stopped():
            return broken("trainer_stopped", "The trainer was asked to stop, though not by its worker.")
        case None if oom_killed and returncode == -signal.SIGKILL:
            # Who else was on the machine may have been the one too many: tried again, unlike a limit of the trainer's
            # own.
            return broken("out_of_memory", "The system ran out of memory and killed the trainer.")
        case None:
            return broken("trainer_died", _cause_of(returncode))
        case _:
            assert_never(last)


def stopped(reason: str) -> Released | Rejected:
    """What stopping for a reason of ours means for the job."""
    final = _FINAL.get(reason)
    return Released(reason) if final is None else Rejected(final)


def broken(code: str, message: str) -> Broken:
    return Broken(Failure(code, message, origin="system", retryable=True))


def too_large(held: int, limit: int) -> Rejected:
    """The trainer outgrew its limit, and would again."""
    message = (
        f"The trainer held {held / 1024**2:,.0f} MiB of memory, and this service allows {limit / 1024**2:,.0f}. "
        "A smaller batch_size or image_size needs less."
    )
    return Rejected(Failure("out_of_memory", message, origin="user", retryable=False))


def _cause_of(returncode: int) -> str:
    if returncode == -signal.SIGKILL:
        return "The trainer was killed (SIGKILL): by the system when it is out of memory, or by hand."
    if returncode < 0:
        return f"The trainer was ended by {signal.Signals(-returncode).name}."
    return f"The trainer ended with status {returncode} and without a last word; its log may say why."
