"""The database's clock. Leases live on it alone, so that no worker's wrong clock can take or keep a job."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import DateTime, Dialect, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime in UTC; SQLite, which has no zones, keeps it as text of one width that sorts by time."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a naive datetime says no point in time")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class _Now(FunctionElement[datetime]):
    type = UtcDateTime()
    inherit_cache = True
    name = "now"


@compiles(_Now, "postgresql")
def _postgresql_now(element: _Now, compiler: SQLCompiler, **kwargs: Any) -> str:
    # now() stands still within a transaction, which may have waited for a lock.
    return "clock_timestamp()"


@compiles(_Now, "sqlite")
def _sqlite_now(element: _Now, compiler: SQLCompiler, **kwargs: Any) -> str:
    # SQLAlchemy writes six digits; a shorter text would not compare equal to itself once read and bound again.
    return "(strftime('%Y-%m-%d %H:%M:%f', 'now') || '000')"


def now(session: Session) -> datetime:
    """The database's time, to the millisecond at least."""
    return session.execute(select(_Now())).scalar_one()
