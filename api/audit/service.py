"""The audit log: pages and export."""

from collections.abc import Iterator

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from api.audit.schemas import AuditEntryOut, AuditPage
from api.http.pagination import cut_page, decode_cursor
from api.http.types import is_id
from ttm_jobs.database.engine import read_scope
from ttm_jobs.models import AuditEntry
from ttm_jobs.repositories.access import audit
from ttm_jobs.repositories.access.audit import AuditFilters

_CURSOR = "audit"
_EXPORT_BATCH = 500


def page(session: Session, filters: AuditFilters, *, limit: int, cursor: str | None) -> AuditPage:
    """A page of entries, newest first."""
    before = None if cursor is None else decode_cursor(_CURSOR, cursor, _position)
    found = audit.find(session, filters, limit=limit + 1, before_id=before)
    rows, following = cut_page(_CURSOR, found, limit, lambda row: [row.id])
    return AuditPage(items=[_view(row) for row in rows], next_cursor=following, has_more=following is not None)


def export(engine: Engine, filters: AuditFilters) -> Iterator[bytes]:
    """All entries as JSON lines, newest first. Each batch has its own transaction, because a slow client would keep one
    open."""
    before: str | None = None
    while True:
        with read_scope(engine) as session:
            rows = audit.find(session, filters, limit=_EXPORT_BATCH, before_id=before)
            lines = [_view(row).model_dump_json().encode() + b"\n" for row in rows]
            before = rows[-1].id if rows else None
        if before is None:
            return
        yield b"".join(lines)


def _position(position: list[object]) -> str:
    (entry_id,) = position
    if not isinstance(entry_id, str) or not is_id(entry_id):
        raise ValueError
    return entry_id


def _view(row: AuditEntry) -> AuditEntryOut:
    return AuditEntryOut(**{name: getattr(row, name) for name in AuditEntryOut.model_fields})
