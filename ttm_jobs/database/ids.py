"""Identifiers: UUIDv7, so that new rows land next to each other in an index."""

from datetime import UTC, datetime
from uuid import UUID

import uuid_utils


def new_id() -> str:
    """36 characters, ordered by the time of their making."""
    return str(uuid_utils.uuid7())


def first_id_of(at: datetime) -> str:
    """The identifiers made before a point in time are less than this, which is none itself."""
    milliseconds = f"{int(at.timestamp() * 1000):012x}"
    return f"{milliseconds[:8]}-{milliseconds[8:]}-"


def made_at(identifier: str) -> datetime | None:
    """When an identifier was made, by the clock of its maker; None for what is none of ours."""
    try:
        parsed = UUID(identifier)
    except ValueError:
        return None
    if parsed.version != 7:
        return None
    # Its first 48 bits count milliseconds.
    return datetime.fromtimestamp((parsed.int >> 80) / 1000, UTC)
