"""Devices of a project, with what they have measured."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from ttm_jobs.database.clock import now
from ttm_jobs.models import Device, Measurement, MeasurementRequest
from ttm_jobs.models.measurement_request import RequestState

# Recording every poll of an agent would turn each into a write.
_SEEN_INTERVAL = timedelta(seconds=10)


@dataclass(frozen=True)
class DeviceSummary:
    """A device, with its numbers of measurements, measured jobs and unfinished requests."""

    name: str
    cpu: str | None
    last_seen_at: datetime
    measurements: int
    jobs: int
    last_measured_at: datetime | None
    pending_requests: int


def seen(session: Session, project_id: str, name: str, *, cpu: str | None = None) -> Device:
    """Records that a device reported now; creates it if it is new. Accurate to ten seconds."""
    at = now(session)
    device = session.get(Device, (project_id, name))
    if device is None:
        device = Device(project_id=project_id, name=name, cpu=cpu, last_seen_at=at)
        session.add(device)
        session.flush()
        return device
    if device.last_seen_at <= at - _SEEN_INTERVAL:
        device.last_seen_at = at
    if cpu is not None and device.cpu != cpu:
        device.cpu = cpu
    return device


def list_all(session: Session) -> Sequence[DeviceSummary]:
    """The devices of the session's project, by name."""
    measured = {
        row.device: row
        for row in session.execute(
            select(
                Measurement.device,
                func.count().label("measurements"),
                func.count(Measurement.job_id.distinct()).label("jobs"),
                func.max(Measurement.created_at).label("last"),
            ).group_by(Measurement.device)
        )
    }
    unfinished = MeasurementRequest.state.in_((RequestState.QUEUED, RequestState.CLAIMED))
    pending = {
        row.device: row.requests
        for row in session.execute(
            select(MeasurementRequest.device, func.count().label("requests"))
            .where(unfinished)
            .group_by(MeasurementRequest.device)
        )
    }
    summaries = []
    for device in session.scalars(select(Device).order_by(Device.name)):
        row = measured.get(device.name)
        summaries.append(
            DeviceSummary(
                name=device.name,
                cpu=device.cpu,
                last_seen_at=device.last_seen_at,
                measurements=row.measurements if row else 0,
                jobs=row.jobs if row else 0,
                last_measured_at=row.last if row else None,
                pending_requests=pending.get(device.name, 0),
            )
        )
    return summaries
