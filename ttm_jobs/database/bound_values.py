"""The check of all values in SQL statements. PostgreSQL rejects some that SQLite accepts, with errors that look like
errors of the service.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, Engine, event

from ttm_jobs.errors import InvalidValue

_LIMIT = 2**63


def check_bound_values(engine: Engine) -> None:
    """Checks the values of each statement of the engine: statements with a value that no column can have raise
    InvalidValue.

    Requests are validated before, with errors that name the field. This covers what their schemas do not.
    """
    event.listen(engine, "before_cursor_execute", _check)


def is_storable(text: str) -> bool:
    """Whether PostgreSQL can store a text: it has no NUL character and no lone surrogate."""
    # Nearly all text is ASCII, which Python knows without reading it.
    return "\0" not in text and (text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text))


def _check(
    connection: Connection, cursor: Any, statement: str, parameters: Any, context: Any, executemany: bool
) -> None:
    for row in parameters if executemany else (parameters,):
        values: Iterable[Any] = row.values() if isinstance(row, Mapping) else row or ()
        for value in values:
            if isinstance(value, str) and not is_storable(value):
                raise InvalidValue("Text must not contain NUL characters or lone surrogates.")
            if isinstance(value, int) and not -_LIMIT <= value < _LIMIT:
                raise InvalidValue("Integers must have at most 64 bits.")
