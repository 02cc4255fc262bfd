"""One typed settings class, read from `TTM_*` environment variables and validated at start."""

import json
import os
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from ttm_jobs.secret_files import SecretFiles
from ttm_jobs.storage.s3_access import S3Access
from ttm_jobs.uris import parse_origin

# That of a job that names none, where the settings name none either.
DEFAULT_QUEUE = "default"
Queue = Annotated[str, Field(pattern=r"^[a-z0-9](?:[a-z0-9_-]{0,62}[a-z0-9])?$")]

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
        description="Where uploads, checkpoints and students are kept: file:DIRECTORY or s3://BUCKET/PREFIX.",
    )
    work_dir: Path = Field(
        default=Path("var/work"),
        description="A worker's own space: one folder an attempt, inputs, teachers' logits.",
    )
    teacher_store_max_bytes: PositiveInt = Field(
        default=50 * 1024**3,
        description="What the teachers' logits that are kept for later jobs may take under `work_dir`; the least "
        "recently used go first.",
    )
    shared_store_max_bytes: NonNegativeInt = Field(
        default=0,
        description="What teachers' logits may take in the storage, where workers on other machines find them; 0: they "
        "stay on the machine that made them.",
    )
    data_cache_max_bytes: PositiveInt = Field(
        default=200 * 1024**3,
        description="What fetched files and unpacked datasets may take under `work_dir`, beside those of running jobs; "
        "the least recently used go first.",
    )

    # What a spec's addresses may name
    data_roots: Annotated[tuple[Path, ...], NoDecode] = Field(
        default=(),
        description="Folders that file:// addresses may point into, separated like PATH. Empty: no file:// address.",
    )
    allowed_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Hosts that data and checkpoints may be fetched from, separated by commas: https://HOST, with "
        ":PORT where it is not 443, or the same with http. Redirects must stay among them. Empty: no such address.",
    )
    private_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Those of `allowed_origins`, and receivers of webhooks, that may lie at a private or loopback "
        "address: HOST:PORT, separated by commas.",
    )
    allowed_buckets: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="Buckets that s3:// addresses may name, separated by commas. Empty: no such address."
    )
    fetch_max_bytes: PositiveInt = Field(default=200 * 1024**3, description="Largest file or folder that is fetched.")
    fetch_timeout_seconds: PositiveFloat = Field(default=6 * 3600.0, description="Longest that one fetch may take.")

    # S3, as storage and as a source
    s3_endpoint: str | None = Field(
        default=None, description="Address of an S3 that is not Amazon's, such as http://minio:9000."
    )
    s3_public_endpoint: str | None = Field(
        default=None,
        pattern=r"^https?://",
        description="The same store as those reach it who download, where that is another address.",
    )
    s3_region: str | None = Field(default=None, description="Region of the buckets.")
    s3_access_key_id: str | None = Field(
        default=None, repr=False, description="Left out, the AWS_* variables or the machine's role are used."
    )
    s3_secret_access_key: str | None = Field(default=None, repr=False, description="The secret of the access key.")

    # The API
    host: str = Field(default="127.0.0.1", description="Address the API listens on.")
    port: int = Field(default=8000, ge=0, le=65_535, description="Port the API listens on; 0 takes a free one.")
    open_on_loopback: bool = Field(
        default=True,
        description="On a loopback address, answer without a key as long as no key was made. Any other address always "
        "needs one.",
    )
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Names that a request's Host may have, separated by commas. Empty: those of loopback on a loopback "
        "address, any elsewhere.",
    )
    direct_downloads: bool = Field(
        default=False,
        description="Where the storage is S3, lead whoever downloads a student or another artifact to a signed address "
        "of the store (307) instead of sending the bytes. They have to reach the store.",
    )
    requests_per_second: PositiveFloat | None = Field(
        default=None,
        description="Requests that each key may make, ten seconds' worth at once. Empty: no limit.",
    )
    max_body_bytes: PositiveInt = Field(default=1024**2, description="Largest request body, uploads aside, in bytes.")
    max_upload_bytes: PositiveInt = Field(default=64 * 1024**3, description="Largest upload in bytes.")

    # The lease of a running job
    lease_seconds: PositiveFloat = Field(default=60.0, description="A worker silent for this long has lost its job.")
    heartbeat_seconds: PositiveFloat = Field(
        default=15.0,
        description="How often a worker extends its lease and looks for stop_requests; a quarter of the lease if unset.",
    )
    max_attempts: PositiveInt = Field(
        default=3, le=100, description="Attempts of a job before an infrastructure error fails it."
    )
    retry_backoff_seconds: PositiveFloat = Field(
        default=10.0,
        description="BlockedReason before the second attempt; doubled for each further one, ten minutes at most.",
    )

    # The trainer process
    progress_timeout_seconds: PositiveFloat = Field(
        default=1800.0, description="A trainer that tells nothing for this long is killed, though its worker is alive."
    )
    stop_grace_seconds: PositiveFloat = Field(
        default=30.0, description="Time a trainer has to save a checkpoint between SIGTERM and SIGKILL."
    )
    standby_trainer: bool = Field(
        default=True,
        description="An idle worker keeps a trainer that has imported what a run needs (about 400 MB) and starts the "
        "next job with it.",
    )
    trainer_memory_bytes: PositiveInt | None = Field(
        default=None,
        description="A trainer whose processes together hold more than this in memory of their own is killed; mapped "
        "files and a GPU's memory do not count. Empty: no limit.",
    )
    trainer_timeout_seconds: PositiveFloat | None = Field(
        default=None, description="Longest that one attempt may take before its job fails. Empty: no limit."
    )
    trainer_isolation: Literal["auto", "off"] = Field(
        default="auto",
        description="auto: a trainer reads its inputs and writes its own folders alone, and reaches no other host, as "
        "far as the system can hold it to that (Linux; docs/security.md). off: it may what the worker may.",
    )
    storage_retry_seconds: PositiveFloat = Field(
        default=600.0,
        description="How long a run waits for an object store that is away, while it fetches what it needs from there "
        "or has its student to store, before the attempt counts as broken.",
    )
    event_flush_seconds: PositiveFloat = Field(
        default=1.0, description="How often a run's events are written to the database."
    )
    log_upload_seconds: PositiveFloat = Field(
        default=5.0, description="How often a running trainer's output is stored for those who read along."
    )
    max_log_bytes: PositiveInt = Field(
        default=16 * 1024**2, description="Most recent output of a trainer that is kept."
    )

    # The dispatcher
    dispatch_interval_seconds: PositiveFloat = Field(default=0.25, description="How often the outbox is looked at.")
    reap_interval_seconds: PositiveFloat = Field(default=2.0, description="How often expired leases are looked for.")
    renotify_seconds: PositiveFloat = Field(
        default=15.0, description="A queued job that no idle worker took for this long is rung again."
    )
    worker_timeout_seconds: PositiveFloat = Field(
        default=60.0, description="A worker not heard of for this long is taken for gone."
    )
    collect_interval_seconds: PositiveFloat = Field(
        default=3600.0, description="How often what no row names is removed from the storage."
    )
    collect_min_age_seconds: PositiveFloat = Field(
        default=24 * 3600.0,
        description="What no row names is kept for this long, and so is an upload that does not end.",
    )
    webhook_timeout_seconds: PositiveFloat = Field(
        default=15.0, description="Longest that a webhook's receiver may take."
    )
    webhook_retry_seconds: PositiveFloat = Field(
        default=5.0,
        description="BlockedReason before a webhook is sent again; four times as long each time, six hours at most, ten tries.",
    )
    webhook_disable_seconds: PositiveFloat = Field(
        default=5 * 86_400.0, description="A webhook of which every delivery failed for this long is disabled."
    )
    artifacts_retention_days: PositiveFloat | None = Field(
        default=None, description="Artifacts of a job are forgotten so long after its end, its log aside. Empty: never."
    )
    logs_retention_days: PositiveFloat | None = Field(default=None, description="The same of its log.")
    checkpoints_retention_days: PositiveFloat | None = Field(default=None, description="The same of its checkpoints.")
    events_retention_days: PositiveFloat | None = Field(
        default=None, description="The same of its stream of events, its history aside."
    )
    metrics_retention_days: PositiveFloat | None = Field(default=None, description="The same of its curves.")
    uploads_retention_days: PositiveFloat | None = Field(
        default=None,
        description="Uploads are forgotten so long after the last job was posted that names them. Those that a job "
        "which has not ended, or a named teacher or dataset, refers to stay. Empty: never.",
    )
    queue_name: str = Field(
        default="ttm.jobs",
        min_length=1,
        max_length=100,
        description="What the service's queues are called at the broker, followed by the name of each but `default`.",
    )
    queues: Annotated[tuple[Queue, ...], NoDecode] = Field(
        default=(DEFAULT_QUEUE,),
        min_length=1,
        description="Separated by commas. For the API, the queues that a job may name, the first of which is that of a "
        "job that names none; for a worker, those whose jobs it takes, from the first as long as one waits there.",
    )

    # Metrics
    metrics_token: str | None = Field(
        default=None,
        min_length=16,
        repr=False,
        description="What Prometheus sends as `Authorization: Bearer` to the API's /metrics, and which opens nothing "
        "else. Empty: only an admin of the default project sees them.",
    )
    metrics_port: int | None = Field(
        default=None,
        ge=0,
        le=65_535,
        description="Port on which this worker or dispatcher tells its metrics. Each process needs one of its own; "
        "empty: none.",
    )
    metrics_host: str = Field(
        default="127.0.0.1", description="Address of that port. It asks for no key: keep it within your network."
    )

    # MLflow
    mlflow_tracking_uri: str | None = Field(
        default=None,
        pattern=r"^https?://",
        repr=False,
        description="MLflow server that dispatchers tell of jobs that ended: http://mlflow:5000. Workers need it, too. "
        "Empty: none.",
    )
    mlflow_token: str | None = Field(
        default=None, repr=False, description="What that server is sent as `Authorization: Bearer`."
    )
    mlflow_experiment: str = Field(
        default="ttm", min_length=1, max_length=100, description="Experiment of its runs, and how its models begin."
    )
    mlflow_artifacts: bool = Field(
        default=True,
        description="Send it the students and the other artifacts, too, where it receives any; their hashes go in any "
        "case.",
    )
    mlflow_retry_seconds: PositiveFloat = Field(
        default=5.0, description="BlockedReason before it is told again; four times as long each time, ten tries."
    )

    traces_endpoint: str | None = Field(
        default=None,
        pattern=r"^https?://",
        description="Collector of OpenTelemetry traces, OTLP over HTTP: http://collector:4318. Empty: no traces.",
    )

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], *sources: PydanticBaseSettingsSource, **named: PydanticBaseSettingsSource
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What is passed, then the environment, then the files that it names."""
        return (named["init_settings"], named["env_settings"], SecretFiles(settings_cls))

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, value: str) -> str:
        return database_address(value)

    @field_validator("storage_url")
    @classmethod
    def _known_storage(cls, value: str) -> str:
        bucket = value.removeprefix("s3://").split("/")[0]
        if (value.startswith("file:") and value != "file:") or (value.startswith("s3://") and bucket):
            return value
        raise ValueError("the storage is file:DIRECTORY or s3://BUCKET/PREFIX")

    @field_validator("data_roots", mode="before")
    @classmethod
    def _split_roots(cls, value: object) -> object:
        if isinstance(value, str):
            return json.loads(value) if value.startswith("[") else [part for part in value.split(os.pathsep) if part]
        return value

    @field_validator("queues", "allowed_hosts", "allowed_origins", "private_hosts", "allowed_buckets", mode="before")
    @classmethod
    def _split_names(cls, value: object) -> object:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("allowed_origins")
    @classmethod
    def _known_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(parse_origin, value))

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

    @property
    def s3(self) -> S3Access:
        """How S3 is reached."""
        return S3Access(
            self.s3_endpoint,
            self.s3_region,
            self.s3_access_key_id,
            self.s3_secret_access_key,
            self.s3_public_endpoint,
        )


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
