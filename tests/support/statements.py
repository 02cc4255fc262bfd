"""Records SQL statements."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, event
from structlog.contextvars import get_contextvars


def is_read_of_request(sql: str) -> bool:
    """Whether a statement reads for a request, not for a background task of the API."""
    return sql.startswith("SELECT") and "request_id" in get_contextvars()


@contextmanager
def statements(
    target: Engine | type[Engine], include: Callable[[str], bool] = lambda sql: True
) -> Iterator[list[tuple[str, Any]]]:
    """Records the SQL and the parameters of statements for which `include` is true.

    `target` is one engine, or the class `Engine` for all engines.
    """
    sent: list[tuple[str, Any]] = []

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if include(statement):
            sent.append((statement, parameters))

    event.listen(target, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(target, "before_cursor_execute", note)
