"""What the job page computes: the timeline, the student's costs, and commands that submit the job again."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pprint import pformat
from typing import Any

from sqlalchemy.orm import Session

from api.artifacts import service
from api.jobs.schemas import HistoryEntry, JobOut
from ttm_jobs.errors import ArtifactNotFound, JobNotFinished
from ttm_jobs.states import TERMINAL, JobState
from ttm_jobs.storage import Storage


@dataclass(frozen=True)
class Span:
    """A state or phase of a job from `start` for `seconds`. `left` and `width` are per mille of the timeline."""

    name: str
    start: datetime
    seconds: float
    left: float
    width: float


def spans(job: JobOut) -> list[Span]:
    """The states and phases from submission to the end, or until now, in order and without gaps."""
    entries: Sequence[HistoryEntry] = job.history
    if not entries:
        return []
    end = job.finished_at or datetime.now(UTC)
    total = max((end - entries[0].at).total_seconds(), 1e-3)
    found = []
    for entry, following in zip(entries, [*(other.at for other in entries[1:]), end], strict=True):
        if entry.kind == "state" and JobState(entry.value) in TERMINAL:
            continue
        seconds = max((following - entry.at).total_seconds(), 0.0)
        left = 1000 * (entry.at - entries[0].at).total_seconds() / total
        found.append(Span(entry.value, entry.at, seconds, round(left, 1), round(1000 * seconds / total, 1)))
    return found


@dataclass(frozen=True)
class Costs:
    """A student's costs from its report. `macs` is for one image, or None; `latency_seconds` is for a batch of 1."""

    parameters: int
    macs: int | None
    latency_seconds: float


def student_costs(session: Session, storage: Storage, job_id: str) -> Costs | None:
    """The student's costs from the job's report, None if the job has no report. Raises JobNotFound."""
    try:
        download = service.report(session, job_id, "report.json")
    except (JobNotFinished, ArtifactNotFound):
        return None
    report: Any = json.loads(b"".join(storage.open(download.key)))
    try:
        student = report["student"]
        return Costs(student["parameters"], student["macs"], student["latency"]["batch_1"])
    except (KeyError, TypeError):
        # A report of another version has a different structure.
        return None


# The shell expands the key from the environment. Python and the CLI read TTM_API_KEY themselves.
KEY_HEADER = ' -H "Authorization: Bearer $TTM_API_KEY"'


def commands(job: JobOut, base_url: str, *, with_key: bool) -> dict[str, str]:
    """Commands for curl, Python and the CLI that submit the job's spec again, by name."""
    key = KEY_HEADER if with_key else ""
    spec = _without_none(job.spec)
    # A quoted here-document passes every character unchanged. No line of JSON can be the word that ends it.
    body = json.dumps(spec, indent=2, ensure_ascii=False)
    return {
        "curl": (
            f"curl{key} {base_url}/jobs -H 'Content-Type: application/json' --data-binary @- <<'SPEC'\n{body}\nSPEC"
        ),
        "Python": (
            "from ttm_client import Client\n\n"
            f"spec = {pformat(spec, width=100, sort_dicts=False)}\n"
            f'with Client("{base_url}") as client:\n'
            "    job = client.jobs.create(**spec)\n"
            "    print(client.jobs.wait(job.id).state)"
        ),
        "ttm": f"ttm submit --url {base_url} --watch /dev/stdin <<'SPEC'\n{body}\nSPEC",
    }


def _without_none(value: Any) -> Any:
    """The spec without its unset fields."""
    match value:
        case dict():
            return {name: _without_none(part) for name, part in value.items() if part is not None}
        case list():
            return [_without_none(part) for part in value]
        case _:
            return value
