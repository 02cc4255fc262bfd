"""Simulates runs without a trainer by writing a worker's records through the repositories."""

import hashlib
import json
from datetime import timedelta
from typing import Any

from sqlalchemy import Engine

from ttm_core.spec.events import TeacherMeasured, wilson_interval
from ttm_jobs.database.clock import now
from ttm_jobs.database.engine import session_scope
from ttm_jobs.repositories.jobs import leases, lifecycle
from ttm_jobs.repositories.jobs.leases import Lease
from ttm_jobs.repositories.jobs.lifecycle import Failure
from ttm_jobs.repositories.run_data import metrics, recording
from ttm_jobs.repositories.run_data.artifacts import STUDENT, PublishedFile
from ttm_jobs.repositories.run_data.metrics import Point
from ttm_jobs.storage import Storage

STUDENT_BYTES = bytes(range(256)) * 5000
STUDENT_SHA256 = hashlib.sha256(STUDENT_BYTES).hexdigest()


def claim(engine: Engine, job_id: str) -> Lease:
    with session_scope(engine) as session:
        lease = leases.claim(session, job_id, "worker-1", duration=timedelta(minutes=1))
    assert lease is not None
    return lease


def teacher_check(top1: float, images: int, **fields: Any) -> dict[str, Any]:
    """The event of a teacher's check."""
    low, high = wilson_interval(top1, images)
    event = TeacherMeasured(
        top1=top1,
        loss=0.2,
        images=images,
        low=low,
        high=high,
        chance=0.1,
        **{"weak_classes": [], "suggested_normalization": None, "suggested_image_size": None, **fields},
    )
    data: dict[str, Any] = json.loads(event.model_dump_json(exclude={"kind"}))
    return data


def train(engine: Engine, lease: Lease, steps: range, *, total: int = 100) -> None:
    """Records the phase, the teacher and, in one transaction per step, metrics and progress."""
    with session_scope(engine) as session:
        job = leases.fence(session, lease)
        recording.phase(session, job, "training", now(session))
        recording.teacher_measured(session, job, teacher_check(top1=0.95, images=10), now(session))
    for step in steps:
        with session_scope(engine) as session:
            job = leases.fence(session, lease)
            values = {"train/loss": 1 / step, "validation/top1": step / (total + 10)}
            data = {"step": step, "epoch": step / total, "values": values}
            recording.metrics(session, job, data, now(session))
            metrics.upsert(session, job, [Point(step, step / total, values, now(session))])
            progress = {"step": step, "total_steps": total, "epoch": 1, "epochs": 1}
            recording.progress(
                session, job, {**progress, "images_per_second": 50.0, "eta_seconds": total - step}, now(session)
            )


def succeed(
    engine: Engine, storage: Storage, lease: Lease, *, report: bytes | None = None, test_top1: float = 0.88
) -> None:
    """Stores a student, a log and the report if given, and completes the job."""
    key = f"jobs/{lease.job_id}/{lease.epoch}/{STUDENT}"
    storage.put(key, [STUDENT_BYTES])
    file = PublishedFile(STUDENT, key, "application/octet-stream", len(STUDENT_BYTES), STUDENT_SHA256)
    log_key = f"jobs/{lease.job_id}/{lease.epoch}/trainer.log"
    log = storage.put(log_key, [b"step 1\n"])
    log_file = PublishedFile("trainer.log", log_key, "text/plain; charset=utf-8", log.size, log.sha256)
    files = [file, log_file]
    if report is not None:
        report_key = f"jobs/{lease.job_id}/{lease.epoch}/report.json"
        stored = storage.put(report_key, [report])
        files.append(PublishedFile("report.json", report_key, "application/json", stored.size, stored.sha256))
    result = {
        "student_validation": {"top1": 0.9, "loss": 0.3, "images": 10},
        "teacher_validation": {"top1": 0.95, "loss": 0.2, "images": 10},
        "student_test": {"top1": test_top1, "loss": 0.3, "images": 10},
        "teacher_test": {"top1": 0.91, "loss": 0.2, "images": 10},
    }
    with session_scope(engine) as session:
        lifecycle.succeeded(session, leases.fence(session, lease), result=result, files=files)


def fail(engine: Engine, lease: Lease, message: str = "No images.") -> None:
    with session_scope(engine) as session:
        failure = Failure("bad_dataset", message, origin="user", retryable=False)
        lifecycle.failed(session, leases.fence(session, lease), failure)
