"""Example jobs with invented numbers, written through the repositories as a worker would."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Engine, insert, inspect

from tests.support.factories import create_job
from tests.support.measuring import measured as timing
from tests.support.runs import teacher_check
from ttm_jobs.database.clock import now
from ttm_jobs.database.engine import session_scope
from ttm_jobs.database.ids import new_id
from ttm_jobs.models import Job
from ttm_jobs.repositories import workers
from ttm_jobs.repositories.jobs import leases, lifecycle
from ttm_jobs.repositories.jobs.leases import Lease
from ttm_jobs.repositories.jobs.lifecycle import Failure
from ttm_jobs.repositories.measuring import measurements
from ttm_jobs.repositories.run_data import artifacts, recording, teacher_stores
from ttm_jobs.repositories.run_data import metrics as curves
from ttm_jobs.repositories.run_data.artifacts import PublishedFile
from ttm_jobs.repositories.run_data.metrics import Point
from ttm_jobs.repositories.run_data.teacher_stores import LocalStore
from ttm_jobs.storage import Storage

HOSTILE = """<script>document.title='taken'</script>"'><img src=x onerror=alert(1)>{{7*7}}"""
STUDENTS = {
    # architecture: (top-1 on the test split, parameters, MACs, seconds for one image, beta)
    "cifar/resnet20": (0.714, 278_324, 41_410_000, 0.0021, 2.5),
    "cifar/resnet8x4": (0.742, 1_233_540, 177_780_000, 0.0019, 3.0),
    "cifar/resnet32": (0.735, 472_756, 70_060_000, 0.0034, 2.5),
    "cifar/wrn_16_2": (0.753, 703_284, 101_900_000, 0.0026, 4.0),
    "cifar/MobileNetV2": (0.691, 812_836, 7_250_000, 0.0048, 2.5),
}
STEPS = 120


@dataclass(frozen=True)
class Gallery:
    """The URL of an API, the ids of its example jobs by state, and its database."""

    url: str
    jobs: Mapping[str, Any]
    engine: Engine


def create_gallery(engine: Engine, storage: Storage) -> dict[str, Any]:
    """Creates the example jobs and returns their ids by state. Succeeded jobs are in the order of STUDENTS."""
    created: dict[str, Any] = {"succeeded": []}
    for student, (top1, parameters, macs, seconds, beta) in STUDENTS.items():
        lease = _claimed(engine, f"flowers {student.partition('/')[2]}", student, beta)
        _train(engine, lease, STEPS, top1)
        measured = asdict(timing("0" * 64, p50_ms=1000 * seconds)) | {"file": "student.onnx", "device": "gallery"}
        exports = [
            {"file": "student.onnx", "precision": "fp32", "size": 4000, "top1": top1},
            {"file": "student-int8.onnx", "precision": "int8", "size": 1000, "top1": top1 - 0.001},
        ]
        layers = [{"name": f"layer{number}", "ms": number / 10} for number in range(1, 4)]
        shape = {"precision": "fp32", "batch": 1, "threads": 1}
        profile = {"file": "student.onnx", **shape, "layers": layers, "operators": layers}
        report = {"student": {"parameters": parameters, "macs": macs}, "measurements": [measured]}
        report |= {"exports": exports, "profiles": [profile]}
        _succeed(engine, storage, lease, top1, parameters, report)
        created["succeeded"].append(lease.job_id)
    failed = _claimed(engine, HOSTILE, "cifar/resnet20", 2.5)
    with session_scope(engine) as session:
        failure = Failure("bad_dataset", f"No images under train/{HOSTILE}", origin="user", retryable=False)
        lifecycle.failed(session, leases.fence(session, failed), failure)
    running = _claimed(engine, "flowers resnet20, gamma 0.5", "cifar/resnet20", 2.5)
    _train(engine, running, 80, 0.7)
    _write_log(
        engine,
        storage,
        failed,
        [
            *(f"step {step} of 120" for step in range(1, 31)),
            f"ERROR No images under train/{HOSTILE}",
            "INFO cleaning up",
        ],
    )
    _write_log(engine, storage, running, [f"step {step} of 120" for step in range(1, 81)])
    with session_scope(engine) as session:
        for digest, size, rows in (("1f" * 32, 3_100_000_000, 1_560_000), ("ab" * 32, 96_000_000, 48_000)):
            teacher_stores.report(
                session, f"gpu-{digest[0]}", "/work", [LocalStore(digest, "float16", size, rows, now(session))]
            )
            for job_id in created["succeeded"][:3]:
                job = session.get_one(Job, job_id)
                teacher_stores.used(session, job, [digest], cache_hits=rows // 2, forwards=rows // 5)
        queued = _create(session, "flowers resnet14, waiting", "cifar/resnet14", 2.5)
        _create(session, "flowers wrn_40_2, large", "cifar/wrn_40_2", 2.5, device_memory_bytes=80 << 30)
        _create(session, "urgent", "cifar/MobileNetV2", 2.5, priority=9)
        workers.register(
            session,
            "worker-1",
            kind="worker",
            hostname="gpu-7",
            pid=4242,
            devices=[{"kind": "cuda", "count": 1, "name": "NVIDIA A10", "memory_bytes": 24 << 30}],
            job_id=running.job_id,
        )
    return created | {"failed": failed.job_id, "running": running.job_id, "queued": queued}


def create_many(engine: Engine, count: int) -> None:
    """Creates `count` queued jobs without events, which lists do not read."""
    with session_scope(engine) as session:
        job = session.get_one(Job, _create(session, "sweep", "cifar/resnet20", 2.5))
        columns = {column.key: getattr(job, column.key) for column in inspect(Job).column_attrs}
        microsecond = timedelta(microseconds=1)
        rows = [
            {**columns, "id": new_id(), "name": f"sweep {number}", "created_at": job.created_at + number * microsecond}
            for number in range(count)
        ]
        session.execute(insert(Job), rows)


def _create(session: Any, name: str, student: str, beta: float, **fields: Any) -> str:
    spec = {
        "name": name,
        "teacher": {"checkpoint": "file:///data/resnet56.safetensors", "architecture": "cifar/resnet56"},
        "student": {"architecture": student},
        "dataset": {"uri": "file:///data/flowers"},
        "method": {"kind": "wttm", "gamma": 0.3, "beta": beta},
        "training": {"epochs": 240, "batch_size": 64, "seed": 0},
    }
    return create_job(
        session,
        spec=spec,
        name=name,
        teacher="cifar/resnet56",
        student=student,
        dataset="file:///data/flowers",
        method="wttm",
        **fields,
        owner="nightly" if student.startswith("cifar/resnet") else "ana's laptop",
    ).id


def _claimed(engine: Engine, name: str, student: str, beta: float) -> Lease:
    with session_scope(engine) as session:
        job_id = _create(session, name, student, beta)
    with session_scope(engine) as session:
        lease = leases.claim(session, job_id, "worker-1", duration=timedelta(hours=1))
    assert lease is not None
    return lease


def _train(engine: Engine, lease: Lease, steps: int, top1: float) -> None:
    with session_scope(engine) as session:
        job = leases.fence(session, lease)
        recording.phase(session, job, "training", now(session))
        recording.teacher_measured(session, job, teacher_check(top1=0.7234, images=10_000), now(session))
        points = []
        for step in range(1, steps + 1):
            values = {
                "train/loss": 4.6 * math.exp(-step / 40) + 0.9 + 0.12 * math.sin(step * 2.1),
                "train/wttm": 2.1 * math.exp(-step / 30) + 0.3,
                "train/learning_rate": 0.025 * (1 + math.cos(math.pi * step / STEPS)),
                "train/images_per_second": 880 + 25 * math.sin(step),
                "train/data_wait_share": 0.03 + 0.02 * math.sin(step / 3),
                "system/memory_bytes": 1.1e9 + 2e6 * step,
                "system/cpus": 1.8 + 0.15 * math.sin(step / 4),
                "system/gpu_memory_bytes": 6.2e9 + 3e6 * step,
                "system/gpus": 0.9 + 0.05 * math.sin(step / 5),
            }
            if step % 5 == 0:
                values["validation/top1"] = top1 * (1 - math.exp(-step / 25))
            recording.metrics(session, job, {"step": step, "epoch": step / 6, "values": values}, now(session))
            points.append(Point(step, step / 6, values, now(session) + step * timedelta(seconds=2)))
        curves.upsert(session, job, points)
        progress = {"step": steps, "total_steps": STEPS, "epoch": min(1 + steps // 6, 20), "epochs": 20}
        recording.progress(session, job, {**progress, "images_per_second": 881.0, "eta_seconds": 754.0}, now(session))


def _write_log(engine: Engine, storage: Storage, lease: Lease, lines: list[str]) -> None:
    """Writes a log file."""
    key = f"jobs/{lease.job_id}/{lease.epoch}/trainer.log"
    stored = storage.put(key, ["".join(f"{line}\n" for line in lines).encode()])
    with session_scope(engine) as session:
        file = PublishedFile("trainer.log", key, "text/plain; charset=utf-8", stored.size, stored.sha256)
        artifacts.record(session, session.get_one(Job, lease.job_id), [file])


def _succeed(
    engine: Engine, storage: Storage, lease: Lease, top1: float, parameters: int, report: Mapping[str, Any]
) -> None:
    files = []
    contents = {
        "student.safetensors": b"weights" * 9000,
        "report.json": json.dumps(report).encode(),
        "student.onnx": b"float graph",
        "student-int8.onnx": b"int8 graph",
        "trainer.log": b"".join(b"step %d of 120\n" % step for step in range(1, 121)),
    }
    for name, content in contents.items():
        key = f"jobs/{lease.job_id}/{lease.epoch}/{name}"
        storage.put(key, [content])
        digest = hashlib.sha256(content).hexdigest()
        files.append(PublishedFile(name, key, "application/octet-stream", len(content), digest))
    result = {
        "student_validation": {"top1": top1, "loss": 1.0, "images": 5000},
        "student_test": {"top1": top1, "loss": 1.0, "images": 10_000},
        "teacher_test": {"top1": 0.7234, "loss": 1.1, "images": 10_000},
        "student_parameters": parameters,
        "teacher_parameters": 861_620,
    }
    hashes = {file.name: file.sha256 for file in files}
    with session_scope(engine) as session:
        job = leases.fence(session, lease)
        lifecycle.succeeded(session, job, result=result, files=files)
        for device, speed in (("pi5", 0.5), ("laptop", 1.3)):
            for name, precision, p50 in (("student.onnx", "fp32", 2.0), ("student-int8.onnx", "int8", 2.0 * speed)):
                values = timing(hashes[name], precision=precision, p50_ms=p50)
                measurements.record(session, job, name, device, values, created_by="board")
