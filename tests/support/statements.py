"""What is asked of a database."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, event


@contextmanager
def statements(
    target: Engine | type[Engine], which: Callable[[str], bool] = lambda sql: True
) -> Iterator[list[tuple[str, Any]]]:
    """SQL and parameters of what is sent meanwhile, by one engine or, given the class, by any; those that `which` takes."""
    sent: list[tuple[str, Any]] = []

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if which(statement):
            sent.append((statement, parameters))

    event.listen(target, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(target, "before_cursor_execute", note)
