"""What a student costs, as its report says."""

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from api.artifacts import service
from ttm_jobs.errors import ArtifactNotFound, JobNotFinished
from ttm_jobs.storage import Storage


@dataclass(frozen=True)
class Costs:
    """`macs` of one image, None where they could not be counted; `latency_seconds` of one image on the run's device."""

    parameters: int
    macs: int | None
    latency_seconds: float


def student_costs(session: Session, storage: Storage, job_id: str) -> Costs | None:
    """None before the job has succeeded, or without a report of its own making. JobNotFound."""
    try:
        download = service.report(session, job_id, "report.json")
    except (JobNotFinished, ArtifactNotFound):
        return None
    report: Any = json.loads(b"".join(storage.open(download.key)))
    try:
        student = report["student"]
        return Costs(student["parameters"], student["macs"], student["latency"]["batch_1"])
    except (KeyError, TypeError):
        # Reports of another version say it elsewhere.
        return None
