"""Identifiers: UUIDv7, so new rows are adjacent in indexes."""

from datetime import UTC, datetime
from uuid import UUID

import uuid_utils


def new_id() -> str:
    """Returns a new id of 36 characters. Ids sort by creation time."""
    return str(uuid_utils.uuid7())


def first_id_of(at: datetime) -> str:
    """A lower bound of the ids created at or after a time. It is not a valid id itself."""
    milliseconds = f"{int(at.timestamp() * 1000):012x}"
    return f"{milliseconds[:8]}-{milliseconds[8:]}-"


def made_at(identifier: str) -> datetime | None:
    """The creation time of an id by its creator's clock; None for other strings."""
    try:
        parsed = UUID(identifier)
    except ValueError:
        return None
    if parsed.version != 7:
        return None
    # The first 48 bits are milliseconds.
    return datetime.fromtimestamp((parsed.int >> 80) / 1000, UTC)
