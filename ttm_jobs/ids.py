"""Identifiers: UUIDv7, so that new rows land next to each other in an index."""

import uuid_utils


def new_id() -> str:
    """36 characters, ordered by the time of their making."""
    return str(uuid_utils.uuid7())
