"""How an attempt can end, before the record is told."""

import signal
from dataclasses import dataclass
from typing import assert_never

from ttm_core.events import Failed, Finished, Result, Stopped
from ttm_jobs.repositories.endings import Failure


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


def outcome_of(last: Finished | Stopped | Failed | None, returncode: int, asked_to_stop: str | None) -> Outcome:
    """What a trainer's last event and exit status mean, `asked_to_stop` being the reason, if we asked."""
    match last:
        case Finished():
            return Succeeded(last.result)
        case Failed():
            failure = Failure(last.code, last.message, last.origin, last.retryable)
            return Broken(failure) if last.retryable else Rejected(failure)
        case Stopped() | None if asked_to_stop is not None:
            return Released(asked_to_stop)
        case Stopped():
            return broken("trainer_stopped", "The trainer was asked to stop, though not by its worker.")
        case None:
            return broken("trainer_died", _cause_of(returncode))
        case _:
            assert_never(last)


def broken(code: str, message: str) -> Broken:
    return Broken(Failure(code, message, origin="system", retryable=True))


def _cause_of(returncode: int) -> str:
    if returncode == -signal.SIGKILL:
        return "The trainer was killed (SIGKILL): by the system when it is out of memory, or by hand."
    if returncode < 0:
        return f"The trainer was ended by {signal.Signals(-returncode).name}."
    return f"The trainer ended with status {returncode} and without a last word; its log may say why."
