"""Writes a run's events to the database under its lease."""

import json
import logging
from datetime import datetime
from pathlib import Path
from typing import assert_never

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from ttm_core.spec.events import (
    CandidateScreened,
    CheckpointSaved,
    Event,
    Failed,
    Finished,
    Log,
    Measured,
    Metrics,
    PhaseChanged,
    Progress,
    Resolved,
    StageFinished,
    Stopped,
    StoreRequested,
    TeacherMeasured,
)
from ttm_jobs.database.clock import now
from ttm_jobs.database.engine import session_scope
from ttm_jobs.errors import StorageFull, StorageUnreachable
from ttm_jobs.models import Checkpoint, Job
from ttm_jobs.models.base import Json
from ttm_jobs.repositories.jobs import leases
from ttm_jobs.repositories.jobs.leases import Lease
from ttm_jobs.repositories.measuring import measurements
from ttm_jobs.repositories.run_data import metrics, recording
from ttm_jobs.repositories.run_data.metrics import Point
from ttm_jobs.repositories.studies import candidates as studies
from ttm_jobs.states import JobState
from ttm_jobs.storage import Storage
from worker.files import inside
from worker.run.publish import delete_objects

logger = logging.getLogger(__name__)


class Recorder:
    """Buffers events and writes them in batches.

    A failed flush is repeated with the same events, so a temporary outage of the database loses nothing.
    """

    def __init__(self, engine: Engine, storage: Storage, lease: Lease, workdir: Path) -> None:
        self._engine = engine
        self._storage = storage
        self._lease = lease
        self._workdir = workdir
        # Numbered, so that a repeated flush after a lost commit response does not write an event twice.
        self._pending: list[tuple[int, Event]] = []
        self._last_number = 0
        # Storage keys of checkpoints by event number.
        self._uploaded: dict[int, str] = {}

    def add(self, event: Event) -> None:
        # Only the newest pending progress event matters.
        if isinstance(event, Progress):
            self._pending = [(number, other) for number, other in self._pending if not isinstance(other, Progress)]
        self._last_number += 1
        self._pending.append((self._last_number, event))

    def flush(self) -> JobState | None:
        """Writes the pending events and returns the job's state; None if there were none.

        Raises LeaseLost; DATABASE_UNAVAILABLE (call it again); StorageFull if a checkpoint does not fit; ValueError if
        the trainer named a file outside its work directory.
        """
        if not self._pending:
            return None
        for number, event in tuple(self._pending):
            if isinstance(event, CheckpointSaved):
                self._upload(number, event)
        obsolete: list[str] = []
        # The row is locked and heartbeats wait, so everything is written with few statements.
        with session_scope(self._engine) as session, session.no_autoflush:
            job = leases.fence(session, self._lease)
            at = now(session)
            points = []
            for number, event in self._pending:
                if number > job.last_event_seq:
                    obsolete += self._write(session, job, number, event, at)
                    job.last_event_seq = number
                    if isinstance(event, Metrics):
                        points.append(Point(event.step, event.epoch, event.values, at))
            metrics.upsert(session, job, points)
            state = job.state
        self._pending.clear()
        self._uploaded.clear()
        delete_objects(self._storage, obsolete)
        return state

    def discard(self) -> None:
        """Drops the pending events."""
        self._pending.clear()

    def _upload(self, number: int, event: CheckpointSaved) -> None:
        if number in self._uploaded:
            return
        key = f"jobs/{self._lease.job_id}/{self._lease.epoch}/checkpoints/{event.step}"
        try:
            with inside(self._workdir, event.path).open("rb") as file:
                self._storage.put(key, file)
        except (StorageFull, ValueError):
            # The other events can be written without it.
            self._pending.remove((number, event))
            raise
        except FileNotFoundError:
            logger.info("checkpoint of step %d was replaced by a newer one before it was stored", event.step)
            self._pending.remove((number, event))
        except (OSError, StorageUnreachable) as error:
            # The run continues; the next checkpoint may succeed.
            logger.warning("checkpoint of step %d was not stored: %s", event.step, error)
            self._pending.remove((number, event))
        else:
            self._uploaded[number] = key

    def _write(self, session: Session, job: Job, number: int, event: Event, at: datetime) -> list[str]:
        # Through JSON text, where non-finite numbers are strings: neither database accepts them in JSON.
        data = json.loads(event.model_dump_json(exclude={"kind"}))
        match event:
            case PhaseChanged():
                recording.phase(session, job, event.phase, at)
            case Resolved():
                recording.resolved(session, job, data["spec"], data, at)
            case TeacherMeasured():
                recording.teacher_measured(session, job, data, at)
            case Progress():
                recording.progress(session, job, data, at)
            case Metrics():
                recording.metrics(session, job, data, at)
            case CheckpointSaved():
                return self._write_checkpoint(session, job, self._uploaded[number], event, data, at)
            case Log():
                recording.log(session, job, data, at)
            case Measured(measurement=measured):
                values = measured.model_dump(exclude={"file", "device"})
                measurements.record(
                    session, job, measured.file, measured.device, measurements.Measured(**values), created_by="worker"
                )
            case CandidateScreened():
                _record_screen(session, job, event)
            case StoreRequested() | Finished() | StageFinished() | Stopped() | Failed():
                # The attempt handles store requests; the finalizer records the outcome.
                pass
            case _:
                assert_never(event)
        return []

    def _write_checkpoint(
        self, session: Session, job: Job, key: str, event: CheckpointSaved, data: Json, at: datetime
    ) -> list[str]:
        saved = Checkpoint(
            job_id=job.id,
            step=event.step,
            epoch=event.epoch,
            path=event.path,
            key=key,
            size=event.size,
            # The trainer's hash, so that a corrupted upload is detected before a resume.
            sha256=event.sha256,
            best=event.best,
            lease_epoch=job.lease_epoch,
            created_at=at,
        )
        return recording.checkpoint(session, job, saved, data, at)


def _record_screen(session: Session, job: Job, event: CandidateScreened) -> None:
    if job.study_id is not None:
        screen = event.model_dump(mode="json", exclude={"kind", "numbers"})
        studies.record_screen(session, job.study_id, event.numbers, screen)
