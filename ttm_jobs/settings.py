"""One typed settings class, read from `TTM_*` environment variables and validated at start."""

import json
import os
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

SQLITE = "sqlite"
POSTGRESQL = "postgresql+psycopg"


class Settings(BaseSettings):
    """Every setting of the service. Addresses may carry passwords, so they stay out of `repr`."""

    model_config = SettingsConfigDict(env_prefix="TTM_", frozen=True)

    # Where things are
    database_url: str = Field(
        default="sqlite:///./var/ttm.db",
        repr=False,
        description="SQLAlchemy address of the record: SQLite or PostgreSQL.",
    )
    broker_url: str = Field(
        default="redis://127.0.0.1:6379/0", repr=False, description="The Celery broker that carries the rings."
    )
    storage_url: str = Field(
        default="file:./var/storage",
        repr=False,
        description="Where uploads, checkpoints and students are kept: file:DIRECTORY.",
    )
    work_dir: Path = Field(
        default=Path("var/work"),
        description="A worker's own space: one folder an attempt, inputs, teachers' logits.",
    )
    teacher_stores_bytes: PositiveInt = Field(
        default=50 * 1024**3,
        description="What the teachers' logits that are kept for later jobs may take under `work_dir`; the least "
        "recently used go first.",
    )
    data_roots: Annotated[tuple[Path, ...], NoDecode] = Field(
        default=(),
        description="Folders that file:// addresses may point into, separated like PATH. Empty: no file:// address.",
    )

    # The API
    host: str = Field(default="127.0.0.1", description="Address the API listens on.")
    port: int = Field(default=8000, ge=0, le=65_535, description="Port the API listens on; 0 takes a free one.")
    max_body_bytes: PositiveInt = Field(default=1024**2, description="Largest request body, uploads aside, in bytes.")
    max_upload_bytes: PositiveInt = Field(default=64 * 1024**3, description="Largest upload in bytes.")

    # The lease of a running job
    lease_seconds: PositiveFloat = Field(default=60.0, description="A worker silent for this long has lost its job.")
    heartbeat_seconds: PositiveFloat = Field(
        default=15.0,
        description="How often a worker extends its lease and looks for wishes; a quarter of the lease if unset.",
    )
    max_attempts: PositiveInt = Field(
        default=3, le=100, description="Attempts of a job before an infrastructure error fails it."
    )
    retry_backoff_seconds: PositiveFloat = Field(
        default=10.0, description="Wait before the second attempt; doubled for each further one, ten minutes at most."
    )

    # The trainer process
    progress_timeout_seconds: PositiveFloat = Field(
        default=1800.0, description="A trainer that tells nothing for this long is killed, though its worker is alive."
    )
    stop_grace_seconds: PositiveFloat = Field(
        default=30.0, description="Time a trainer has to save a checkpoint between SIGTERM and SIGKILL."
    )
    record_seconds: PositiveFloat = Field(
        default=1.0, description="How often a run's events are written to the database."
    )
    max_log_bytes: PositiveInt = Field(
        default=16 * 1024**2, description="Most recent output of a trainer that is kept."
    )

    # The dispatcher
    dispatch_seconds: PositiveFloat = Field(default=0.25, description="How often the outbox is looked at.")
    reap_seconds: PositiveFloat = Field(default=2.0, description="How often expired leases are looked for.")
    ring_again_seconds: PositiveFloat = Field(
        default=15.0, description="A queued job that no idle worker took for this long is rung again."
    )
    worker_seen_seconds: PositiveFloat = Field(
        default=60.0, description="A worker not heard of for this long is taken for gone."
    )
    queue_name: str = Field(default="ttm.jobs", min_length=1, max_length=100, description="Name of the Celery queue.")

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, value: str) -> str:
        return database_address(value)

    @field_validator("storage_url")
    @classmethod
    def _known_storage(cls, value: str) -> str:
        if not value.startswith("file:") or value == "file:":
            raise ValueError("the storage is file:DIRECTORY")
        return value

    @field_validator("data_roots", mode="before")
    @classmethod
    def _split_roots(cls, value: object) -> object:
        if isinstance(value, str):
            return json.loads(value) if value.startswith("[") else [part for part in value.split(os.pathsep) if part]
        return value

    @model_validator(mode="before")
    @classmethod
    def _heartbeat_follows_lease(cls, data: object) -> object:
        if isinstance(data, dict) and "lease_seconds" in data and "heartbeat_seconds" not in data:
            return {**data, "heartbeat_seconds": float(data["lease_seconds"]) / 4}
        return data

    @model_validator(mode="after")
    def _heartbeat_within_lease(self) -> Self:
        if self.heartbeat_seconds > self.lease_seconds / 2:
            raise ValueError(
                "heartbeat_seconds must be at most half of lease_seconds, or one lost heartbeat costs the job"
            )
        return self


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


@lru_cache
def get_settings() -> Settings:
    """The settings of this process."""
    return Settings()
