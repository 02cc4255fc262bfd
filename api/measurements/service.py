"""Measurements of jobs' ONNX artifacts: recording, listing and the recommended files."""

import json
from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError
from sqlalchemy.orm import Session

from api.artifacts import service as artifact_service
from api.http.problems import FieldError, FieldErrors
from api.measurements.schemas import MeasuredValues, MeasurementList, MeasurementOut, MeasurementRequest
from ttm_core.spec.speed.verdict import ACCEPTED_DROP_POINTS, Recommendation, ShippableFile, Timing, files_of, recommend
from ttm_jobs.errors import ArtifactNotFound, JobNotFinished, MeasurementMismatch
from ttm_jobs.models import Measurement
from ttm_jobs.repositories.jobs import crud
from ttm_jobs.repositories.measuring import measurements
from ttm_jobs.repositories.measuring.measurements import Measured
from ttm_jobs.repositories.run_data import artifacts
from ttm_jobs.storage import Storage

_Part = TypeVar("_Part", bound=BaseModel)


def record(session: Session, job_id: str, request: MeasurementRequest, *, created_by: str | None) -> MeasurementOut:
    """Records a measurement. Raises JobNotFound, ArtifactNotFound, and FieldErrors for another file's hash."""
    job = crud.get(session, job_id)
    artifact = artifacts.get(session, job_id, request.artifact)
    if request.sha256 != artifact.sha256:
        error = MeasurementMismatch(f"{request.artifact} has the SHA-256 {artifact.sha256}.")
        raise FieldErrors((error, FieldError(pointer="/sha256", detail=error.message)))
    row = measurements.record(session, job, request.artifact, request.device, values(request), created_by=created_by)
    return _view(row)


def of_job(session: Session, storage: Storage, job_id: str) -> MeasurementList:
    """All measurements of the job's current artifacts, and recommendations from them. Raises JobNotFound."""
    return with_report(session, storage, job_id)[0]


def with_report(session: Session, storage: Storage, job_id: str) -> tuple[MeasurementList, dict[str, Any]]:
    """The same as `of_job`, and the job's report; empty for a job without measurements or without a report."""
    job = crud.get(session, job_id)
    rows = measurements.of_job(session, job_id)
    report = (read_report(session, storage, job_id) if rows else None) or {}
    accepted_drop = job.spec.get("quantize", {}).get("accept_drop", ACCEPTED_DROP_POINTS)
    advice = _recommend(rows, files_of(report), accepted_drop)
    return MeasurementList(items=[_view(row) for row in rows], recommendations=advice), report


def values(request: MeasuredValues) -> Measured:
    """The values of a request body."""
    return Measured(**{name: getattr(request, name) for name in Measured.__dataclass_fields__})


def read_report(session: Session, storage: Storage, job_id: str) -> dict[str, Any] | None:
    """The job's report.json; None if it has none. Raises JobNotFound."""
    try:
        download = artifact_service.report(session, job_id, "report.json")
    except (JobNotFinished, ArtifactNotFound):
        return None
    report = json.loads(b"".join(storage.open(download.key)))
    return report if isinstance(report, dict) else None


def report_list(part: type[_Part], report: dict[str, Any] | None, field: str) -> list[_Part]:
    """A list in a report; empty without a report or in one of another version."""
    try:
        return TypeAdapter(list[part]).validate_python((report or {}).get(field, []))  # type: ignore[valid-type]
    except ValidationError:
        return []


def _recommend(
    rows: Sequence[Measurement], files: Sequence[ShippableFile], accepted_drop: float
) -> list[Recommendation]:
    timings = [
        Timing(
            device=row.device,
            file=row.artifact,
            batch=row.batch,
            threads=row.threads,
            p50_ms=row.p50_ms,
            relative_error=row.relative_error,
        )
        for row in sorted(rows, key=lambda row: row.created_at)
    ]
    found = recommend(files, timings, accepted_drop=accepted_drop)
    return sorted(found, key=lambda each: each.device)


def _view(row: Measurement) -> MeasurementOut:
    return MeasurementOut(**{name: getattr(row, name) for name in MeasurementOut.model_fields})
