"""Reads and expires the audit log. `ttm_jobs.database.audit` writes it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import CursorResult, delete, func, or_, select
from sqlalchemy.orm import Session

from ttm_jobs.database.clock import now
from ttm_jobs.models import AuditEntry


@dataclass(frozen=True)
class AuditFilters:
    """Which entries to list. `actor` is the id or name of a key or person; `after` is inclusive, `before` is not."""

    actor: str | None = None
    action: str | None = None
    object: str | None = None
    after: datetime | None = None
    before: datetime | None = None


def find(session: Session, filters: AuditFilters, *, limit: int, before_id: str | None = None) -> Sequence[AuditEntry]:
    """The newest entries, or the newest before an entry."""
    query = select(AuditEntry).order_by(AuditEntry.id.desc()).limit(limit)
    if before_id is not None:
        query = query.where(AuditEntry.id < before_id)
    if filters.actor is not None:
        columns = (AuditEntry.key_id, AuditEntry.user_id, AuditEntry.actor)
        query = query.where(or_(*(column == filters.actor for column in columns)))
    if filters.action is not None:
        query = query.where(AuditEntry.action == filters.action)
    if filters.object is not None:
        query = query.where(AuditEntry.object == filters.object)
    if filters.after is not None:
        query = query.where(AuditEntry.created_at >= filters.after)
    if filters.before is not None:
        query = query.where(AuditEntry.created_at < filters.before)
    return session.scalars(query).all()


def count(session: Session, action: str, *, within: timedelta) -> int:
    """The number of entries of an operation that are at most this old."""
    recent = (AuditEntry.created_at > now(session) - within, AuditEntry.action == action)
    return session.scalar(select(func.count()).select_from(AuditEntry).where(*recent)) or 0


def expire(session: Session, *, older_than: timedelta, limit: int = 1000) -> int:
    """Deletes at most `limit` entries of that age. Returns their number; 0 when done."""
    old = select(AuditEntry.id).where(AuditEntry.created_at <= now(session) - older_than).limit(limit)
    ids = session.scalars(old).all()
    if not ids:
        return 0
    removed = session.execute(delete(AuditEntry).where(AuditEntry.id.in_(ids)))
    assert isinstance(removed, CursorResult)
    return removed.rowcount
