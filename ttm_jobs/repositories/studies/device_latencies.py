"""Latencies of a study's files on the device that it names."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from ttm_jobs.models import MeasurementRequest, RequestState, StudyCandidate
from ttm_jobs.repositories.measuring import requests
from ttm_jobs.repositories.run_data import artifacts
from ttm_jobs.studies.facts import Precision, Timing

Latencies = Mapping[tuple[int, Precision], tuple[Timing, float | None]]
"""By candidate and precision. The latency in ms is None until it is measured, and if the device failed to."""


def artifact_name(number: int, precision: Precision) -> str:
    """The screening job's file of a student; `number` is that of its first candidate."""
    return f"candidate-{number}.onnx" if precision == "fp32" else f"candidate-{number}-int8.onnx"


def latencies(session: Session, device: str, screens: Sequence[str], candidates: Sequence[StudyCandidate]) -> Latencies:
    """The latencies that the device was asked for. Omits files that it was not asked for."""
    rows = session.scalars(
        select(MeasurementRequest)
        .where(MeasurementRequest.job_id.in_(screens), MeasurementRequest.device == device)
        .order_by(MeasurementRequest.created_at, MeasurementRequest.id)
    ).all()
    by_artifact = {row.artifact: row for row in rows}
    found: dict[tuple[int, Precision], tuple[Timing, float | None]] = {}
    first = _first_numbers(candidates)
    precisions: tuple[Precision, ...] = ("fp32", "int8")
    for candidate in candidates:
        for precision in precisions:
            row = by_artifact.get(artifact_name(first[candidate.key], precision))
            if row is not None:
                found[candidate.number, precision] = _timing(row)
    return found


def ask(
    session: Session,
    device: str,
    screen_job: str,
    candidates: Sequence[StudyCandidate],
    files: Collection[tuple[int, Precision]],
) -> None:
    """Asks the device to measure files of the screening job, each once."""
    first, keys = _first_numbers(candidates), {candidate.number: candidate.key for candidate in candidates}
    names = dict.fromkeys(artifact_name(first[keys[number]], precision) for number, precision in files)
    for name in names:
        requests.request_artifact(session, artifacts.get(session, screen_job, name), device=device)


def _first_numbers(candidates: Iterable[StudyCandidate]) -> dict[str, int]:
    """The number of the first candidate of each student."""
    first: dict[str, int] = {}
    for candidate in candidates:
        first.setdefault(candidate.key, candidate.number)
    return first


def _timing(row: MeasurementRequest) -> tuple[Timing, float | None]:
    match row.state:
        case RequestState.DONE:
            return Timing.DONE, None if row.result is None else row.result["p50_ms"]
        case RequestState.FAILED:
            return Timing.DONE, None
        case _:
            return Timing.REQUESTED, None
