"""The declarative base and common column types."""

from datetime import datetime
from typing import Annotated, Any

from sqlalchemy import BigInteger, Enum, Integer, MetaData, String
from sqlalchemy.orm import DeclarativeBase, mapped_column

from ttm_jobs.database.clock import UtcDateTime
from ttm_jobs.states import JobState


class Base(DeclarativeBase):
    # Alembic needs constraint names, and each database would choose its own.
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - read once by the mapper
        datetime: UtcDateTime(),
        # Stored as text, so a new state needs no migration.
        JobState: Enum(
            JobState,
            native_enum=False,
            create_constraint=False,
            length=16,
            values_callable=lambda e: [s.value for s in e],
        ),
    }


Json = dict[str, Any]
Id = Annotated[str, mapped_column(String(36))]
Sha256 = Annotated[str, mapped_column(String(64))]
# SQLite autoincrements only INTEGER columns, which have 64 bits there.
Serial = Annotated[int, mapped_column(BigInteger().with_variant(Integer(), "sqlite"))]
