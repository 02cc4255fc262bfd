"""Measurements of jobs' ONNX artifacts."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import and_, select
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.orm import Session

from ttm_jobs.database.clock import now
from ttm_jobs.models import Artifact, Job, Measurement
from ttm_jobs.repositories.measuring import devices

_KEY = ("job_id", "artifact", "device", "runtime", "runtime_version", "batch", "threads")


@dataclass(frozen=True)
class Measured:
    """The values of a measurement: times in ms, throughput in images/s."""

    sha256: str
    runtime: str
    runtime_version: str
    provider: str
    cpu: str
    precision: str
    batch: int
    threads: int
    pinned: bool
    p50_ms: float
    p90_ms: float
    throughput: float
    repeats: int
    relative_error: float
    load_ms: float
    peak_memory_bytes: int | None


def record(
    session: Session, job: Job, artifact: str, device: str, values: Measured, *, created_by: str | None
) -> Measurement:
    """Records a measurement. It replaces an earlier one of the same artifact, device, runtime, batch and threads, so
    that repeating a request changes nothing.
    """
    devices.seen(session, job.project_id, device, cpu=values.cpu)
    row = {
        "job_id": job.id,
        "artifact": artifact,
        "device": device,
        **asdict(values),
        "created_at": now(session),
        "created_by": created_by,
        "project_id": job.project_id,
    }
    insert = sqlite_insert if session.get_bind().dialect.name == "sqlite" else postgresql_insert
    session.execute(
        insert(Measurement)
        .values(row)
        .on_conflict_do_update(
            index_elements=_KEY, set_={name: value for name, value in row.items() if name not in _KEY}
        )
    )
    key = tuple(row[name] for name in _KEY)
    return session.get_one(Measurement, key, populate_existing=True)


def of_job(session: Session, job_id: str) -> Sequence[Measurement]:
    """The measurements of the job's current artifacts, by device, artifact, batch and threads.

    Omits measurements of files that a later attempt has replaced.
    """
    return session.scalars(
        select(Measurement)
        .join(
            Artifact,
            and_(
                Artifact.job_id == Measurement.job_id,
                Artifact.name == Measurement.artifact,
                Artifact.sha256 == Measurement.sha256,
            ),
        )
        .where(Measurement.job_id == job_id)
        .order_by(Measurement.device, Measurement.artifact, Measurement.batch, Measurement.threads)
    ).all()
