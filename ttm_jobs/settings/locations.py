"""Locations of database, broker, storage and the worker's files."""

import re
from pathlib import Path

from pydantic import (
    Field,
    NonNegativeInt,
    PositiveInt,
    field_validator,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from ttm_jobs.database.sealing import SecretKeyUnusable, read_keys
from ttm_jobs.settings.base import SettingsGroup

SQLITE = "sqlite"
POSTGRESQL = "postgresql+psycopg"


def database_address(url: str) -> str:
    """The address with the driver this project runs on; ValueError for a database it does not know."""
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise ValueError("not a database address") from error
    match parsed.drivername:
        case "sqlite" | "sqlite+pysqlite":
            driver = SQLITE
        case "postgres" | "postgresql" | "postgresql+psycopg":
            driver = POSTGRESQL
        case other:
            raise ValueError(f"the database is sqlite or postgresql, not {other!r}")
    return parsed.set(drivername=driver).render_as_string(hide_password=False)


class Locations(SettingsGroup):
    """Where the service keeps its data, and how much of it."""

    database_url: str = Field(
        default="sqlite:///./var/ttm.db",
        repr=False,
        description="SQLAlchemy URL of the database: SQLite or PostgreSQL.",
    )
    broker_url: str = Field(
        default="redis://127.0.0.1:6379/0",
        repr=False,
        description="URL of the Celery broker, which carries wake-up messages.",
    )
    storage_url: str = Field(
        default="file:./var/storage",
        repr=False,
        description="Storage of uploads, checkpoints and students: file:DIRECTORY, s3://BUCKET/PREFIX, "
        "gs://BUCKET/PREFIX or az://CONTAINER/PREFIX.",
    )
    secret_key_file: Path | None = Field(
        default=None,
        description="File with the keys that encrypt webhook secrets and the signing key of links in the database, for "
        "the API and the dispatcher. `ttm secrets rotate` creates it and adds keys. Default: plain text.",
    )
    work_dir: Path = Field(
        default=Path("var/work"),
        description="The worker's local directory: attempts, inputs, teacher stores.",
    )
    teacher_store_max_bytes: PositiveInt = Field(
        default=50 * 1024**3,
        description=(
            "Maximum size of the teacher stores under `work_dir`, plus a twentieth for logits of validation and test "
            "images. The least recently used ones are deleted first."
        ),
    )
    shared_store_max_bytes: NonNegativeInt = Field(
        default=0,
        description=(
            "Maximum size of teacher stores in the storage, where workers on other machines find them. 0: "
            "stores stay on the machine that computed them."
        ),
    )
    data_cache_max_bytes: PositiveInt = Field(
        default=200 * 1024**3,
        description=(
            "Maximum size of downloaded files and unpacked datasets under `work_dir`, not counting those of "
            "running jobs. The least recently used ones are deleted first."
        ),
    )

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, value: str) -> str:
        return database_address(value)

    @field_validator("storage_url")
    @classmethod
    def _known_storage(cls, value: str) -> str:
        if re.match(r"file:.|(?:s3|gs|az)://[^/]", value):
            return value
        raise ValueError(
            "the storage is file:DIRECTORY, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX"
        )

    @field_validator("secret_key_file")
    @classmethod
    def _usable(cls, path: Path | None) -> Path | None:
        if path is not None:
            try:
                read_keys(path)
            except SecretKeyUnusable as error:
                raise ValueError(str(error)) from None
        return path
