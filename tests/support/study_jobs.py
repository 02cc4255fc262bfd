"""Ends the queued jobs of a study through the repositories, as a worker does."""

from collections.abc import Collection
from datetime import timedelta

from sqlalchemy import Engine

from tests.support.runs import STUDENT_BYTES, STUDENT_SHA256
from tests.support.studies import advance, candidates_of, jobs_of, study_of
from ttm_core.spec import catalogue
from ttm_jobs.database.engine import session_scope
from ttm_jobs.models import Job, StudyCandidate
from ttm_jobs.models.base import Json
from ttm_jobs.repositories.jobs import leases, lifecycle
from ttm_jobs.repositories.jobs.lifecycle import Failure
from ttm_jobs.repositories.run_data.artifacts import STUDENT, PublishedFile
from ttm_jobs.repositories.studies import candidates
from ttm_jobs.states import JobState
from ttm_jobs.storage import Storage
from ttm_jobs.studies.facts import JobKind
from ttm_jobs.studies.states import ENDED


def end_jobs(
    engine: Engine, study_id: str, storage: Storage | None = None, *, float_layers: Collection[str] = ()
) -> int:
    """Ends all queued jobs of a study, or pauses them at the end of their rung. Returns their number.

    Students are written to the `storage`, if it is given. Layers of the int8 files of the students `float_layers` stay
    in float32.
    """
    waiting = [job for job in jobs_of(engine, study_id) if job.state is JobState.QUEUED]
    rows = candidates_of(engine, study_id)
    for job in waiting:
        _end(engine, job, rows, storage, float_layers)
    return len(waiting)


def end_study(engine: Engine, study_id: str, storage: Storage | None = None) -> None:
    """Advances a study and ends its jobs until it has ended. Students are written to the `storage`, if it is given."""
    while study_of(engine, study_id).state not in ENDED:
        advance(engine)
        end_jobs(engine, study_id, storage)


def end_job(engine: Engine, job: Job) -> None:
    """Ends one queued job of a study, or pauses it at the end of its rung."""
    assert job.study_id is not None
    _end(engine, job, candidates_of(engine, job.study_id), None)


def fail_job(engine: Engine, job: Job) -> None:
    """Fails one queued job without a retry."""
    with session_scope(engine) as session:
        lease = leases.claim(session, job.id, "worker-1", duration=timedelta(minutes=1))
    assert lease is not None
    with session_scope(engine) as session:
        failure = Failure("bad_dataset", "No images.", origin="user", retryable=False)
        lifecycle.failed(session, leases.fence(session, lease), failure)


def accuracy(job: Job, epoch: int) -> float:
    """The validation accuracy of a job: larger students and longer runs are better, labels alone are worse."""
    size = catalogue.find(job.student).parameters
    return round(
        0.95
        - 10 / size**0.5
        - 0.2 / epoch
        - 0.1 * job.baseline
        + 0.001 * job.study_seed * (1 + job.candidate % 3 + job.baseline),
        6,
    )


def _end(
    engine: Engine, job: Job, rows: list[StudyCandidate], storage: Storage | None, float_layers: Collection[str] = ()
) -> None:
    with session_scope(engine) as session:
        lease = leases.claim(session, job.id, "worker-1", duration=timedelta(minutes=1))
    assert lease is not None
    with session_scope(engine) as session:
        row = leases.fence(session, lease)
        match job.kind:
            case JobKind.SCREEN:
                for candidate in rows:
                    candidates.record_screen(session, candidate.study_id, [candidate.number], _screen(candidate))
                files = [] if storage is None else _onnx_files(storage, f"jobs/{job.id}/{lease.epoch}", rows)
                lifecycle.stage_succeeded(session, row, files=files)
            case JobKind.TEACHER:
                lifecycle.stage_succeeded(session, row)
            case JobKind.DISTILL if job.pause_after_epoch is not None:
                epoch = job.pause_after_epoch
                lifecycle.paused_after_epoch(session, row, epoch, accuracy(job, epoch))
            case JobKind.DISTILL:
                key = f"jobs/{job.id}/{lease.epoch}/{STUDENT}"
                if storage is not None:
                    storage.put(key, [STUDENT_BYTES])
                file = PublishedFile(STUDENT, key, "application/octet-stream", len(STUDENT_BYTES), STUDENT_SHA256)
                files = [file]
                if storage is not None:
                    name = "student-int8.onnx"
                    stored = storage.put(f"jobs/{job.id}/{lease.epoch}/{name}", [f"{job.id} {name}".encode()])
                    files.append(
                        PublishedFile(
                            name,
                            f"jobs/{job.id}/{lease.epoch}/{name}",
                            "application/octet-stream",
                            stored.size,
                            stored.sha256,
                        )
                    )
                result = {**_result(job), "int8_in_float": job.student in float_layers}
                lifecycle.succeeded(session, row, result=result, files=files)


def _onnx_files(storage: Storage, folder: str, rows: list[StudyCandidate]) -> list[PublishedFile]:
    """The files that a device measures. Their content does not matter here."""
    files = []
    for row in rows:
        for name in (f"candidate-{row.number}.onnx", f"candidate-{row.number}-int8.onnx"):
            stored = storage.put(f"{folder}/{name}", [name.encode()])
            files.append(
                PublishedFile(name, f"{folder}/{name}", "application/octet-stream", stored.size, stored.sha256)
            )
    return files


def _screen(candidate: StudyCandidate) -> Json:
    row = catalogue.find(candidate.student["architecture"])
    files = [
        {"precision": "fp32", "bytes": 4 * row.parameters, "latency_ms": row.parameters / 1e5},
        {"precision": "int8", "bytes": row.parameters, "latency_ms": row.parameters / 2e5},
    ]
    return {"parameters": row.parameters, "macs": row.macs, "files": files, "device": "a CPU", "runtime": "none"}


def _result(job: Job) -> Json:
    top1 = accuracy(job, job.spec["training"]["epochs"])
    scores = {"top1": top1, "loss": 1.0, "images": 100}
    return {
        "student_validation": scores,
        "student_test": scores,
        "teacher_validation": {"top1": 0.95, "loss": 0.2, "images": 100},
        "teacher_test": {"top1": 0.95, "loss": 0.2, "images": 100},
        "int8_change": -0.01,
    }
