"""What a student costs, from the report of its job."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from api.measurements.service import read_report, report_list
from ttm_core.spec.speed.measurement import FileMeasurement, single_image
from ttm_core.spec.speed.verdict import files_of
from ttm_jobs.storage import Storage


@dataclass(frozen=True)
class Costs:
    """Costs of a student; None where they are not known. `bytes` is the size of its smallest ONNX file; the latencies
    are those of one image in the float32 file on the worker.
    """

    parameters: int | None = None
    macs: int | None = None
    bytes: int | None = None
    latency_ms: float | None = None
    latency_p90_ms: float | None = None


def student_costs(session: Session, storage: Storage, job_id: str) -> Costs:
    """The costs of a job's student. Raises JobNotFound."""
    report = read_report(session, storage, job_id) or {}
    student = report.get("student")
    timed = single_image(report_list(FileMeasurement, report, "measurements"))
    return Costs(
        parameters=_integer(student, "parameters"),
        macs=_integer(student, "macs"),
        bytes=min((file.size for file in files_of(report)), default=None),
        latency_ms=timed.p50_ms if timed else None,
        latency_p90_ms=timed.p90_ms if timed else None,
    )


def _integer(part: Any, name: str) -> int | None:
    value = part.get(name) if isinstance(part, dict) else None
    return value if isinstance(value, int) else None
