"""Writes a run's events to the record, under its lease."""

import json
import logging
from datetime import datetime
from pathlib import Path
from typing import assert_never

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from ttm_core.spec.events import (
    CheckpointSaved,
    Event,
    Failed,
    Finished,
    Log,
    Metrics,
    PhaseChanged,
    Progress,
    Resolved,
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
from ttm_jobs.repositories.run_data import metrics, recording
from ttm_jobs.repositories.run_data.metrics import Point
from ttm_jobs.states import JobState
from ttm_jobs.storage import Storage
from worker.files import inside
from worker.run.publish import delete_objects

logger = logging.getLogger(__name__)


class Recorder:
    """Collects events and writes them together.

    A flush that fails is repeated with the same events, so a database that goes away for a while costs nothing.
    """

    def __init__(self, engine: Engine, storage: Storage, lease: Lease, workdir: Path) -> None:
        self._engine = engine
        self._storage = storage
        self._lease = lease
        self._workdir = workdir
        # With the number of each: a commit whose answer was lost is sent again, and must not be written again.
        self._waiting: list[tuple[int, Event]] = []
        self._heard = 0
        # The keys of checkpoints, by their event's number.
        self._uploaded: dict[int, str] = {}

    def add(self, event: Event) -> None:
        # Nobody looks at each of them: the newest of those that wait says all.
        if isinstance(event, Progress):
            self._waiting = [(number, other) for number, other in self._waiting if not isinstance(other, Progress)]
        self._heard += 1
        self._waiting.append((self._heard, event))

    def flush(self) -> JobState | None:
        """Writes what waits, and tells the job's state; None if nothing waited.

        LeaseLost; DATABASE_UNAVAILABLE: call it again; StorageFull: a checkpoint found no room; ValueError: the trainer named
        a file that is not its own.
        """
        if not self._waiting:
            return None
        for number, event in tuple(self._waiting):
            if isinstance(event, CheckpointSaved):
                self._upload(number, event)
        obsolete: list[str] = []
        # The row is locked meanwhile, and a heartbeat waits: all is written with few statements at the end.
        with session_scope(self._engine) as session, session.no_autoflush:
            job = leases.fence(session, self._lease)
            at = now(session)
            points = []
            for number, event in self._waiting:
                if number > job.last_event_seq:
                    obsolete += self._write(session, job, number, event, at)
                    job.last_event_seq = number
                    if isinstance(event, Metrics):
                        points.append(Point(event.step, event.epoch, event.values, at))
            metrics.upsert(session, job, points)
            state = job.state
        self._waiting.clear()
        self._uploaded.clear()
        delete_objects(self._storage, obsolete)
        return state

    def discard(self) -> None:
        """Forgets what waits."""
        self._waiting.clear()

    def _upload(self, number: int, event: CheckpointSaved) -> None:
        if number in self._uploaded:
            return
        key = f"jobs/{self._lease.job_id}/{self._lease.epoch}/checkpoints/{event.step}"
        try:
            with inside(self._workdir, event.path).open("rb") as file:
                self._storage.put(key, file)
        except (StorageFull, ValueError):
            # What waits beside it can be written without it.
            self._waiting.remove((number, event))
            raise
        except (OSError, StorageUnreachable) as error:
            # The trainer has made newer ones since and removed this, or the storage cannot be reached: the run goes on,
            # and the next one may get through.
            logger.warning("checkpoint of step %d was not stored: %s", event.step, error)
            self._waiting.remove((number, event))
        else:
            self._uploaded[number] = key

    def _write(self, session: Session, job: Job, number: int, event: Event, at: datetime) -> list[str]:
        # By way of text, in which a number that is not finite is a string, as neither database takes it in JSON.
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
            case StoreRequested() | Finished() | Stopped() | Failed():
                # The attempt answers the first, and the runner tells its end, with its artifacts.
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
            # As the trainer knows it: a file damaged on its way is found out before anyone resumes from it.
            sha256=event.sha256,
            best=event.best,
            lease_epoch=job.lease_epoch,
            created_at=at,
        )
        return recording.checkpoint(session, job, saved, data, at)
