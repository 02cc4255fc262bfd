"""The phases and states of a job as spans, for a bar that shows where its time went."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from api.jobs.schemas import HistoryEntry, JobOut
from ttm_jobs.states import TERMINAL, JobState


@dataclass(frozen=True)
class Span:
    """What a job was in from `start` on for `seconds`; `left` and `width` are per mille of the whole."""

    name: str
    start: datetime
    seconds: float
    left: float
    width: float


def spans(job: JobOut) -> list[Span]:
    """In order, without gaps, from submission to the end or until now."""
    entries: Sequence[HistoryEntry] = job.history
    if not entries:
        return []
    end = job.finished_at or datetime.now(UTC)
    whole = max((end - entries[0].at).total_seconds(), 1e-3)
    found = []
    for entry, following in zip(entries, [*(other.at for other in entries[1:]), end], strict=True):
        if entry.kind == "state" and JobState(entry.value) in TERMINAL:
            continue
        seconds = max((following - entry.at).total_seconds(), 0.0)
        left = 1000 * (entry.at - entries[0].at).total_seconds() / whole
        found.append(Span(entry.value, entry.at, seconds, round(left, 1), round(1000 * seconds / whole, 1)))
    return found
