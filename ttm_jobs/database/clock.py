"""The database's clock. Leases use only this clock, so a worker with a wrong clock cannot take or keep a job."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import DateTime, Dialect, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime in UTC. SQLite stores it as fixed-width text, which sorts by time."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a naive datetime has no time zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Now(FunctionElement[datetime]):
    """The database's current time, as an expression of a statement."""

    type = UtcDateTime()
    inherit_cache = True
    name = "now"


@compiles(Now, "postgresql")
def _postgresql_now(element: Now, compiler: SQLCompiler, **kwargs: Any) -> str:
    # now() is the start of the transaction, which may have waited for a lock.
    return "clock_timestamp()"


@compiles(Now, "sqlite")
def _sqlite_now(element: Now, compiler: SQLCompiler, **kwargs: Any) -> str:
    # SQLAlchemy writes six digits; other widths would not compare equal after a round trip.
    return "(strftime('%Y-%m-%d %H:%M:%f', 'now') || '000')"


def now(session: Session) -> datetime:
    """The database's current time, at least to the millisecond."""
    return session.execute(select(Now())).scalar_one()
