"""What the job page computes: the timeline, the speed of its files, and commands that submit the job again."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pprint import pformat
from typing import Any

from sqlalchemy.orm import Session

from api.jobs.schemas import HistoryEntry, JobOut
from api.measurements import service as measurements
from api.measurements.schemas import MeasurementList
from api.measurements.service import report_list
from ttm_core.spec.speed.measurement import FileProfile
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
class Speed:
    """Measurements and recommendations of a job's ONNX files, and the per-layer times in its report."""

    measured: MeasurementList
    profiles: list[FileProfile]


def speed(session: Session, storage: Storage, job_id: str) -> Speed:
    """What is known about the speed of a job's files. Raises JobNotFound."""
    measured, report = measurements.with_report(session, storage, job_id)
    return Speed(measured, report_list(FileProfile, report, "profiles"))


@dataclass(frozen=True)
class OnnxFile:
    """An exported ONNX file on the result card. `milliseconds` is its latency for one image on `device`; None where it
    was not measured.
    """

    label: str
    href: str
    bytes: int
    milliseconds: float | None
    device: str | None


_LABELS = {
    "student.onnx": "ONNX, float32",
    "student-fp16.onnx": "ONNX, float16",
    "student-int8.onnx": "ONNX, int8",
}


def onnx_files(job: JobOut, known: Speed) -> list[OnnxFile]:
    """The ONNX files of a job's student, each with its best latency for one image."""
    found = []
    for artifact in job.artifacts:
        if artifact.name not in _LABELS:
            continue
        of_file = [each for each in known.measured.items if each.artifact == artifact.name and each.batch == 1]
        best = min(of_file, key=lambda each: each.p50_ms, default=None)
        found.append(
            OnnxFile(
                _LABELS[artifact.name],
                artifact.href,
                artifact.size,
                best.p50_ms if best else None,
                best.device if best else None,
            )
        )
    return found


# The shell expands the key from the environment. Python and the CLI read TTM_API_KEY themselves.
KEY_HEADER = ' -H "Authorization: Bearer $TTM_API_KEY"'


@dataclass(frozen=True)
class Submission:
    """What differs between submitting a job and a study: the resource in the API and the SDK, the variable that holds
    the result, and the command.
    """

    resource: str
    variable: str
    command: str


JOB = Submission("jobs", "job", "ttm submit")
STUDY = Submission("studies", "study", "ttm study submit")


def commands(submission: Submission, spec: dict[str, Any], base_url: str, *, with_key: bool) -> dict[str, str]:
    """Commands for curl, Python and the CLI that submit a spec again, by name."""
    key = KEY_HEADER if with_key else ""
    spec = without_none(spec)
    resource, variable = submission.resource, submission.variable
    # A quoted here-document passes every character unchanged. No line of JSON can be the word that ends it.
    body = json.dumps(spec, indent=2, ensure_ascii=False)
    return {
        "curl": (
            f"curl{key} {base_url}/{resource} -H 'Content-Type: application/json' "
            f"--data-binary @- <<'SPEC'\n{body}\nSPEC"
        ),
        "Python": (
            "from ttm_client import Client\n\n"
            f"spec = {pformat(spec, width=100, sort_dicts=False)}\n"
            f'with Client("{base_url}") as client:\n'
            f"    {variable} = client.{resource}.create(**spec)\n"
            f"    print(client.{resource}.wait({variable}.id).state)"
        ),
        "ttm": f"{submission.command} --url {base_url} --watch /dev/stdin <<'SPEC'\n{body}\nSPEC",
    }


def without_none(value: Any) -> Any:
    """The spec without its unset fields."""
    match value:
        case dict():
            return {name: without_none(part) for name, part in value.items() if part is not None}
        case list():
            return [without_none(part) for part in value]
        case _:
            return value
