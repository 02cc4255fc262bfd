"""Verifies the result of a soak: no job is lost, no job ends twice, and every object has its recorded hash."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median
from typing import Any

from tests.support.stack import Stack
from tests.support.tiny_trainer import weights_after
from ttm_jobs.database.engine import read_scope
from ttm_jobs.repositories.jobs import crud
from ttm_jobs.repositories.run_data import artifacts, events
from ttm_jobs.states import TERMINAL, JobState


@dataclass(frozen=True)
class Count:
    """Counts of a soak. `unanswered` jobs were created by a POST with a lost response; they must also succeed."""

    accepted: int
    unanswered: int
    succeeded: int
    lost: int
    ended_twice: int
    wrong_bytes: int
    unnamed_objects: int
    attempts: Counter[str]
    detection_seconds: Sequence[float]

    @property
    def sound(self) -> bool:
        return (
            self.lost == self.ended_twice == self.wrong_bytes == 0
            and self.succeeded == self.accepted + self.unanswered > 0
        )

    def figures(self) -> dict[str, Any]:
        detected = self.detection_seconds
        return {
            "accepted": self.accepted,
            "unanswered": self.unanswered,
            "succeeded": self.succeeded,
            "lost": self.lost,
            "ended_twice": self.ended_twice,
            "wrong_bytes": self.wrong_bytes,
            "unnamed_objects": self.unnamed_objects,
            "attempts": dict(sorted(self.attempts.items())),
            "worker_death_noticed_after_seconds": {
                "deaths": len(detected),
                "median": round(median(detected), 1) if detected else None,
                "most": round(max(detected), 1) if detected else None,
            },
        }


def count(stack: Stack, accepted: Sequence[str], *, steps: int, deaths: Sequence[tuple[str, int, datetime]]) -> Count:
    """Checks every job in the database and every object in the storage."""
    job_ids = stack.job_ids()
    referenced: set[str] = set()
    succeeded = lost = twice = wrong = 0
    attempts: Counter[str] = Counter()
    for job_id in job_ids:
        job = stack.job(job_id)
        with read_scope(stack.engine) as session:
            history = events.history(session, job_id)
            files = artifacts.of_job(session, job_id)
            outcomes = [attempt.outcome for attempt in crud.attempts(session, job_id)]
        ends = [event.data["state"] for event in history if event.kind == "state" and event.data["state"] in TERMINAL]
        succeeded += job.state is JobState.SUCCEEDED
        lost += job.state not in TERMINAL
        twice += len(ends) > 1 or outcomes.count("succeeded") > 1
        attempts.update(str(outcome) for outcome in outcomes)
        referenced |= {file.key for file in files} | {row.key for row in stack.checkpoints(job_id)}
        seed = str(job.spec["training"]["seed"])
        for file in files:
            data = b"".join(stack.storage.open(file.key))
            right = file.name != artifacts.STUDENT or data.decode() == weights_after(steps, seed)
            wrong += hashlib.sha256(data).hexdigest() != file.sha256 or not right
        wrong += job.state is JobState.SUCCEEDED and artifacts.STUDENT not in {file.name for file in files}
    missing = set(accepted) - set(job_ids)
    return Count(
        accepted=len(accepted),
        unanswered=len(job_ids) - len(accepted) + len(missing),
        succeeded=succeeded,
        lost=lost + len(missing),
        ended_twice=twice,
        wrong_bytes=wrong,
        unnamed_objects=len(set(stack.storage.list()) - referenced),
        attempts=attempts,
        detection_seconds=_detection(stack, deaths),
    )


def _detection(stack: Stack, deaths: Sequence[tuple[str, int, datetime]]) -> list[float]:
    """The seconds between each worker's death and the end of its attempt in the database."""
    seconds = []
    for job_id, epoch, at in deaths:
        for attempt in stack.attempts(job_id):
            if attempt.lease_epoch == epoch and attempt.outcome == "lost" and attempt.ended_at is not None:
                seconds.append((attempt.ended_at - at).total_seconds())
    return seconds
