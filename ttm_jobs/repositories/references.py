"""References by which people find jobs and studies: an id, a unique prefix of one, or a unique name."""

import re
from collections.abc import Sequence
from typing import TypeVar

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from ttm_jobs.database.tenancy import project_of
from ttm_jobs.errors import ServiceError
from ttm_jobs.models import Job, Study

_ID_PREFIX = re.compile(r"[0-9a-f]{4}[0-9a-f-]{0,32}")
_MAX_CANDIDATES = 5

Row = TypeVar("Row", Job, Study)


def by_prefix(session: Session, table: type[Row], text: str, *, limit: int) -> Sequence[Row]:
    """Returns the rows of the session's project whose id starts with `text`, which has at least four hexadecimal
    digits, by id. Empty for other texts.
    """
    prefix = text.lower()
    if not _ID_PREFIX.fullmatch(prefix):
        return []
    # A range of the primary key, in its order: "g" sorts after all digits of an id.
    in_range = select(table).where(table.project_id == project_of(session), table.id >= prefix, table.id < prefix + "g")
    return session.scalars(in_range.order_by(table.id).limit(limit)).all()


def find(
    session: Session,
    table: type[Row],
    reference: str,
    *indexed: ColumnElement[bool],
    missing: type[ServiceError],
    ambiguous: type[ServiceError],
) -> Row:
    """Returns the row with this id, id prefix (at least four hexadecimal digits) or exact name.

    An id wins over a name. `indexed` are conditions that the name implies and that have an index. Raises `missing`, or
    `ambiguous` with up to five candidates.
    """
    if (row := session.get(table, reference)) is not None:
        return row
    matches = by_prefix(session, table, reference, limit=_MAX_CANDIDATES + 1)
    if not matches:
        rows = select(table).where(table.project_id == project_of(session)).limit(_MAX_CANDIDATES + 1)
        named = rows.where(*indexed, table.name == reference)
        matches = session.scalars(named.order_by(table.created_at.desc(), table.id.desc())).all()
    kind = table.__name__.lower()
    if not matches:
        raise missing(f"No {kind} has the id, id prefix or name {reference!r}.")
    if len(matches) > 1:
        more = " and more" if len(matches) > _MAX_CANDIDATES else ""
        candidates = ", ".join(row.id for row in matches[:_MAX_CANDIDATES])
        raise ambiguous(f"{reference!r} matches more than one {kind}: {candidates}{more}. Use a full id.")
    return matches[0]
