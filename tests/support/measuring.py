"""Stored ONNX artifacts of finished jobs, and measurements of them."""

from typing import Any

from sqlalchemy import Engine

from tests.support.runs import claim, succeed
from ttm_jobs.database.engine import session_scope
from ttm_jobs.models import Artifact, Job
from ttm_jobs.repositories.measuring.measurements import Measured
from ttm_jobs.repositories.run_data import artifacts
from ttm_jobs.repositories.run_data.artifacts import PublishedFile
from ttm_jobs.storage import Storage


def measured(sha256: str, **fields: Any) -> Measured:
    """Consistent values of a measurement."""
    p50, batch = fields.get("p50_ms", 2.0), fields.get("batch", 1)
    defaults = {
        "runtime": "onnxruntime",
        "runtime_version": "1.32.0",
        "provider": "CPUExecutionProvider",
        "cpu": "Raspberry Pi 5",
        "precision": "fp32",
        "batch": 1,
        "threads": 1,
        "pinned": True,
        "p50_ms": 2.0,
        "p90_ms": 1.5 * p50,
        "throughput": batch * 1000 / p50,
        "repeats": 100,
        "relative_error": 0.01,
        "load_ms": 10.0,
        "peak_memory_bytes": 10_000_000,
    }
    return Measured(**{"sha256": sha256, **defaults, **fields})


def succeed_with_onnx(
    engine: Engine, storage: Storage, job_id: str, files: dict[str, bytes], *, report: bytes | None = None
) -> dict[str, str]:
    """Completes a job with these artifacts in addition to the student. Returns their SHA-256 by name."""
    lease = claim(engine, job_id)
    succeed(engine, storage, lease, report=report)
    published = []
    for name, content in files.items():
        key = f"jobs/{lease.job_id}/{lease.epoch}/{name}"
        stored = storage.put(key, [content])
        published.append(PublishedFile(name, key, "application/octet-stream", stored.size, stored.sha256))
    with session_scope(engine) as session:
        artifacts.record(session, session.get_one(Job, job_id), published)
    return {file.name: file.sha256 for file in published}


def artifact_of(engine: Engine, job_id: str, name: str) -> Artifact:
    with session_scope(engine) as session:
        return artifacts.get(session, job_id, name)
