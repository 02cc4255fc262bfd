"""Converts a job to an MLflow run."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import isfinite
from typing import Any

from sqlalchemy.orm import Session

from ttm_jobs.models import Artifact, Job
from ttm_jobs.repositories.jobs import crud
from ttm_jobs.repositories.run_data import artifacts, metrics
from ttm_jobs.repositories.run_data.artifacts import LOG, STUDENT
from ttm_jobs.states import JobState

# Limits of MLflow.
_MAX_PARAM = 500
_MAX_TAG = 5000
_MAX_KEY = 250
_FORBIDDEN = re.compile(r"[^\w./: -]")
_MAX_POINTS = 2000
_STATUS = {JobState.SUCCEEDED: "FINISHED", JobState.FAILED: "FAILED", JobState.CANCELLED: "KILLED"}
JOB_TAG = "ttm.job_id"


@dataclass(frozen=True)
class File:
    """An artifact and its path in the run."""

    key: str
    path: str
    sha256: str


@dataclass(frozen=True)
class Run:
    """A finished job. Times are milliseconds since 1970."""

    job_id: str
    name: str
    status: str
    start: int
    end: int
    architecture: str
    params: dict[str, str]
    metrics: Sequence[dict[str, Any]]
    tags: dict[str, str]
    files: Sequence[File]

    @property
    def model(self) -> str | None:
        """The MLmodel file of the student; None without a student."""
        if not any(file.path == f"student/{STUDENT}" for file in self.files):
            return None
        # JSON is valid YAML.
        flavor = {"data": STUDENT, "architecture": self.architecture, "loader": "ttm_client.load_student"}
        return json.dumps({"artifact_path": "student", "flavors": {"ttm": flavor}}, indent=1)


def read(session: Session, job_id: str) -> Run | None:
    """Returns the run of a job; None if the job has not ended. Raises JobNotFound."""
    job = crud.get(session, job_id)
    if job.finished_at is None or job.state not in _STATUS:
        return None
    files = artifacts.of_job(session, job_id)
    start, end = _milliseconds(job.started_at or job.created_at), _milliseconds(job.finished_at)
    return Run(
        job_id=job.id,
        name=job.name or f"{job.student} {job.id[-12:]}",
        status=_STATUS[job.state],
        start=start,
        end=end,
        architecture=job.student,
        params={_key(name): value[:_MAX_PARAM] for name, value in _flat(job.resolved_spec or job.spec)},
        metrics=[*_curves(session, job, start, end), *_results(job, end)],
        tags={name: value[:_MAX_TAG] for name, value in _tags(job, files).items() if value},
        files=[File(row.key, _path(row.name), row.sha256) for row in files],
    )


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Flattens `{"method": {"beta": 2}}` to method.beta. Omits nulls."""
    match value:
        case dict():
            for key, inner in value.items():
                yield from _flat(inner, f"{name}.{key}" if name else str(key))
        case list() if any(isinstance(inner, dict | list) for inner in value):
            for number, inner in enumerate(value):
                yield from _flat(inner, f"{name}.{number}")
        case None:
            return
        case str():
            yield name, value
        case _:
            yield name, json.dumps(value)


def _curves(session: Session, job: Job, start: int, end: int) -> Iterator[dict[str, Any]]:
    points = metrics.thinned(session, job, max_points=_MAX_POINTS)
    last = max((point.step for point in points), default=0) or 1
    for point in points:
        # Points without a time are spread evenly over the run.
        at = start + (end - start) * point.step // last if point.at is None else _milliseconds(point.at)
        for name, value in point.values.items():
            if value is not None:
                yield {"key": _key(name), "value": value, "timestamp": at, "step": point.step}


def _results(job: Job, at: int) -> Iterator[dict[str, Any]]:
    """The final results, under names that no curve has."""
    for name, value in _numbers(job.result or {}, "result"):
        if isfinite(value):
            yield {"key": _key(name), "value": float(value), "timestamp": at, "step": 0}


def _numbers(value: Any, name: str) -> Iterator[tuple[str, float]]:
    match value:
        case bool():
            return
        case int() | float():
            yield name, value
        case dict():
            for key, inner in value.items():
                yield from _numbers(inner, f"{name}/{key}")
        case _:
            return


def _tags(job: Job, files: Sequence[Artifact]) -> dict[str, str]:
    failure = job.failure if job.state is JobState.FAILED else None
    return {
        JOB_TAG: job.id,
        "ttm.project": job.project_id,
        "ttm.student": job.student,
        "ttm.teacher": job.teacher or "",
        "ttm.dataset": job.dataset,
        "ttm.method": job.method,
        "ttm.queue": job.queue,
        "ttm.attempts": str(job.attempt),
        "ttm.tags": ",".join(job.tags),
        "ttm.failure": f"{failure['code']}: {failure['message']}" if failure else "",
        "mlflow.source.name": "ttm",
        "mlflow.source.type": "JOB",
        **{f"ttm.sha256.{_key(file.name)}": file.sha256 for file in files},
    }


def _path(name: str) -> str:
    """The path in the run. The student's files are in one folder, the model."""
    return name if name == LOG or name.startswith("report.") else f"student/{name}"


def _key(name: str) -> str:
    return _FORBIDDEN.sub("_", name)[:_MAX_KEY]


def _milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)
