"""Settings: one typed class, read from TTM_* environment variables and validated at start."""

import json
import os
import re
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from ttm_jobs.database.sealing import SecretKeyUnusable, read_keys
from ttm_jobs.secret_files import SecretFiles
from ttm_jobs.storage.s3_access import S3Access
from ttm_jobs.uris import is_loopback, parse_origin

# The queue of jobs that name none.
DEFAULT_QUEUE = "default"
Queue = Annotated[str, Field(pattern=r"^[a-z0-9](?:[a-z0-9_-]{0,62}[a-z0-9])?$")]

PROJECT_NAME = r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?"

SQLITE = "sqlite"
POSTGRESQL = "postgresql+psycopg"


class GroupAccess(BaseModel):
    """What the members of a group at the identity provider may do."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    project: str = Field(pattern=f"^{PROJECT_NAME}$")
    # No person measures: that scope is for boards.
    scope: Literal["read", "submit", "admin"] = "submit"


class Settings(BaseSettings):
    """Settings of the service. URLs may contain passwords, so `repr` omits them."""

    model_config = SettingsConfigDict(env_prefix="TTM_", frozen=True)

    # Locations
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

    # URIs in specs
    data_roots: Annotated[tuple[Path, ...], NoDecode] = Field(
        default=(),
        description="Folders that file:// URIs may refer to, separated like PATH. Empty: file:// URIs are rejected.",
    )
    allowed_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description=(
            "Hosts for https:// URIs, separated by commas: https://HOST, with :PORT unless it is 443, or the "
            "same with http. Redirects must stay among them. Empty: such URIs are rejected."
        ),
    )
    private_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description=(
            "Hosts of `allowed_origins`, and webhook receivers, that may have a private or loopback address: "
            "HOST:PORT, separated by commas."
        ),
    )
    allowed_buckets: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description=(
            "Buckets for s3://, gs:// and az:// URIs, separated by commas: BUCKET in S3, gs://BUCKET or "
            "az://CONTAINER. Empty: such URIs are rejected."
        ),
    )
    fetch_max_bytes: PositiveInt = Field(
        default=200 * 1024**3, description="Maximum size of a downloaded file or folder."
    )
    fetch_timeout_seconds: PositiveFloat = Field(default=6 * 3600.0, description="Maximum duration of one download.")

    # S3, for storage and inputs
    s3_endpoint: str | None = Field(
        default=None,
        description="Endpoint of an S3-compatible store, for example http://minio:9000. Default: Amazon S3.",
    )
    s3_public_endpoint: str | None = Field(
        default=None,
        pattern=r"^https?://",
        description="Endpoint of the same store for clients, if it differs.",
    )
    s3_region: str | None = Field(default=None, description="Region of the buckets.")
    s3_access_key_id: str | None = Field(
        default=None, repr=False, description="Access key. Default: the AWS_* variables or the machine's role."
    )
    s3_secret_access_key: str | None = Field(default=None, repr=False, description="Secret of the access key.")

    # The API
    host: str = Field(default="127.0.0.1", description="Address on which the API listens.")
    port: int = Field(
        default=8000, ge=0, le=65_535, description="Port on which the API listens; 0 selects a free port."
    )
    open_on_loopback: bool = Field(
        default=True,
        description=(
            "On a loopback address, allow requests without an API key until the first key is created. Afterwards a "
            "key is required, also if all keys have expired. Other addresses always require a key."
        ),
    )
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description=(
            "IP addresses of reverse proxies whose X-Forwarded-For and X-Forwarded-Proto headers are used, separated "
            "by commas. Empty: requests with forwarding headers always require an API key."
        ),
    )
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description=(
            "Allowed values of the Host header, separated by commas. Empty: loopback names on a loopback "
            "address, any name elsewhere."
        ),
    )
    public_url: str | None = Field(
        default=None,
        pattern=r"^https?://[^/?#\s]+$",
        description=(
            "Address at which browsers reach the dashboard: https://ttm.example.com. The identity provider redirects "
            "to it. Default: the address of the request."
        ),
    )
    direct_downloads: bool = Field(
        default=False,
        description=(
            "With storage in a bucket, redirect (307) downloads of artifacts to presigned URLs instead of sending the "
            "bytes. Clients must be able to reach the store."
        ),
    )
    requests_per_second: PositiveFloat | None = Field(
        default=100.0,
        description="Rate limit of each API process per API key, and per address for requests without a valid key. "
        "Bursts of ten seconds are allowed.",
    )
    failed_sign_ins_per_minute: PositiveInt | None = Field(
        default=10,
        description="Invalid API keys and refused sign-ins per minute that an address may send. Until the minute ends, "
        "the API then answers its sign-ins and its unknown keys with 429; keys that worked before still work. All API "
        "processes count together. Empty: no limit.",
    )
    max_body_bytes: PositiveInt = Field(
        default=1024**2, description="Maximum size of a request body in bytes, except uploads and images."
    )
    max_image_bytes: PositiveInt = Field(
        default=10 * 1024**2,
        description="Maximum size in bytes of an image sent to `POST /jobs/{id}/predict`. It may have 25 megapixels.",
    )
    body_timeout_seconds: PositiveFloat = Field(
        default=30.0,
        description="A request body that needs longer than this for 64 KiB is refused with 408. Resumable uploads keep "
        "the bytes that arrived.",
    )
    max_upload_bytes: PositiveInt = Field(default=64 * 1024**3, description="Maximum size of an upload in bytes.")

    # Single sign-on
    oidc_issuer: str | None = Field(
        default=None,
        description=(
            "Issuer of an OpenID Connect provider: https://id.example.com/realms/team. People then sign in to the "
            "dashboard, and every request requires a session or a key. Empty: no single sign-on."
        ),
    )
    oidc_client_id: str | None = Field(default=None, description="The dashboard's client id at the provider.")
    oidc_client_secret: str | None = Field(
        default=None,
        repr=False,
        description="The client's secret. `TTM_OIDC_CLIENT_SECRET_FILE` names a file with it. Empty: a public client.",
    )
    oidc_scopes: str = Field(
        default="openid profile email",
        pattern=r"^(?:\S+ )*openid(?: \S+)*$",
        description="Scopes to request, separated by spaces. Some providers need `groups` for the group claim.",
    )
    oidc_groups_claim: str = Field(
        default="groups", min_length=1, description="Claim of the ID token that lists the person's groups."
    )
    group_access: Annotated[dict[str, GroupAccess], NoDecode] = Field(
        default={},
        description=(
            'Projects and scopes of groups as JSON: {"ml-team": {"project": "vision", "scope": "submit"}}. The scope '
            "is `read`, `submit` (default) or `admin`. People in none of these groups are refused."
        ),
    )
    oidc_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description=(
            "Further origins to which the API may connect for single sign-on, separated by commas, if the provider's "
            "token endpoint or keys are not on the issuer's host: https://oauth2.example.com."
        ),
    )
    oidc_timeout_seconds: PositiveFloat = Field(
        default=5.0, le=60, description="Time limit for each answer of the provider."
    )
    proxy_identity: Literal["x-forwarded", "x-auth-request"] | None = Field(
        default=None,
        description=(
            "Take the person from headers of the proxies in `TTM_TRUSTED_PROXIES`, such as oauth2-proxy: `x-forwarded` "
            "reads X-Forwarded-User, -Email, -Preferred-Username and -Groups, `x-auth-request` the same names with "
            "X-Auth-Request-. The proxy must remove these headers from clients' requests. Empty: they are ignored."
        ),
    )
    session_hours: float = Field(
        default=8.0, ge=0.25, le=720, description="Hours after which people have to sign in again."
    )

    # Leases
    lease_seconds: PositiveFloat = Field(
        default=60.0, description="Duration of a lease. A worker that does not extend it loses its job."
    )
    heartbeat_seconds: PositiveFloat = Field(
        default=15.0,
        description=(
            "Interval at which a worker extends its lease and checks for stop requests. Default: a quarter of"
            " the lease."
        ),
    )
    max_attempts: PositiveInt = Field(
        default=3, le=100, description="Default number of attempts before infrastructure errors fail a job."
    )
    retry_backoff_seconds: PositiveFloat = Field(
        default=10.0,
        description="Delay before the second attempt. Doubled for each further attempt, at most ten minutes.",
    )

    # Trainers
    progress_timeout_seconds: PositiveFloat = Field(
        default=1800.0, description="A trainer that emits no event for this long is killed."
    )
    stop_grace_seconds: PositiveFloat = Field(
        default=30.0, description="Time between SIGTERM and SIGKILL for a trainer to save a checkpoint."
    )
    standby_trainer: bool = Field(
        default=True,
        description=(
            "Keep a trainer with imported libraries ready while the worker is idle (about 400 MB), so that "
            "the next job starts faster."
        ),
    )
    device_name: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
        description="Name of the worker's machine in measurements of ONNX files. Default: the host name.",
    )
    trainer_memory_bytes: PositiveInt | None = Field(
        default=None,
        description=(
            "Memory limit of a trainer: the private memory of all its processes. Mapped files and GPU memory "
            "do not count. Empty: the memory of the container or machine less 10 % (at most 1 GiB), divided by "
            "`TTM_WORKERS_PER_MACHINE`."
        ),
    )
    workers_per_machine: PositiveInt = Field(
        default=1,
        description=(
            "Number of workers that share the memory of the container or machine. `ttm up` sets it to its "
            "number of workers."
        ),
    )
    trainer_timeout_seconds: PositiveFloat = Field(
        default=7 * 24 * 3600.0, description="Maximum duration of an attempt; afterwards the job fails."
    )
    reader_memory_bytes: PositiveInt = Field(
        default=2 * 1024**3,
        description=(
            "Memory limit of the processes that parse untrusted files for a trainer. A file that needs more "
            "fails its job with `bad_checkpoint` or `bad_dataset`."
        ),
    )
    reader_seconds: PositiveFloat = Field(
        default=120.0,
        description="Time limit of such a process, plus one second for each MiB of its input.",
    )
    trainer_isolation: Literal["auto", "off"] = Field(
        default="auto",
        description=(
            "auto: run the trainer in a sandbox as far as the system supports it: it reads only its inputs, "
            "writes only its own folders and reaches no other host (Linux; docs/security.md). off: no "
            "sandbox."
        ),
    )
    storage_retry_seconds: PositiveFloat = Field(
        default=600.0,
        description=(
            "How long a run waits for an unavailable object store when it fetches inputs or publishes its "
            "student, before the attempt fails."
        ),
    )
    event_flush_seconds: PositiveFloat = Field(
        default=1.0, description="Interval at which a run's events are written to the database."
    )
    log_upload_seconds: PositiveFloat = Field(
        default=5.0, description="Interval at which a running trainer's log is uploaded."
    )
    max_log_bytes: PositiveInt = Field(
        default=16 * 1024**2, description="Maximum size of a trainer's log. The newest output is kept."
    )

    # The dispatcher
    dispatch_interval_seconds: PositiveFloat = Field(
        default=0.25, description="Interval at which the dispatcher polls the outbox."
    )
    reap_interval_seconds: PositiveFloat = Field(
        default=2.0, description="Interval at which the dispatcher looks for expired leases."
    )
    renotify_seconds: PositiveFloat = Field(
        default=15.0, description="A queued job that no idle worker claims for this long is notified again."
    )
    worker_timeout_seconds: PositiveFloat = Field(
        default=60.0, description="A worker that has not reported for this long counts as gone."
    )
    collect_interval_seconds: PositiveFloat = Field(
        default=3600.0, description="Interval at which unreferenced objects are deleted from the storage."
    )
    collect_min_age_seconds: PositiveFloat = Field(
        default=24 * 3600.0,
        description="Minimum age of unreferenced objects and incomplete uploads before they are deleted.",
    )
    webhook_timeout_seconds: PositiveFloat = Field(
        default=15.0, description="Timeout of a webhook receiver's response."
    )
    webhook_retry_seconds: PositiveFloat = Field(
        default=5.0,
        description=(
            "Delay before the second attempt of a webhook delivery. Multiplied by four each time, at most six"
            " hours; ten attempts."
        ),
    )
    webhook_disable_seconds: PositiveFloat = Field(
        default=5 * 86_400.0, description="A webhook whose deliveries have all failed for this long is disabled."
    )
    artifacts_retention_days: PositiveFloat | None = Field(
        default=None,
        description="Days after a job's end until its artifacts, except the log, are deleted. Empty: never.",
    )
    logs_retention_days: PositiveFloat | None = Field(
        default=None, description="Days after a job's end until its log is deleted. Empty: never."
    )
    checkpoints_retention_days: PositiveFloat | None = Field(
        default=None, description="Days after a job's end until its checkpoints are deleted. Empty: never."
    )
    events_retention_days: PositiveFloat | None = Field(
        default=None,
        description=(
            "Days after a job's end until its event stream is deleted, except the history of states and "
            "phases. Empty: never."
        ),
    )
    metrics_retention_days: PositiveFloat | None = Field(
        default=None, description="Days after a job's end until its metrics are deleted. Empty: never."
    )
    audit_retention_days: PositiveFloat | None = Field(
        default=None, description="Days until an entry of the audit log is deleted. Empty: never."
    )
    uploads_retention_days: PositiveFloat | None = Field(
        default=None,
        description=(
            "Days after the last job that refers to an upload until it is deleted. Uploads of unfinished jobs"
            " and registry entries are kept. Empty: never."
        ),
    )
    queue_name: str = Field(
        default="ttm.jobs",
        min_length=1,
        max_length=100,
        description="Name of the service's queues at the broker, followed by the name of each queue except `default`.",
    )
    queues: Annotated[tuple[Queue, ...], NoDecode] = Field(
        default=(DEFAULT_QUEUE,),
        min_length=1,
        description=(
            "Separated by commas. For the API: the queues that a job may name; the first is the default. For "
            "a worker: the queues that it serves in order of preference."
        ),
    )

    # Metrics
    metrics_token: str | None = Field(
        default=None,
        min_length=16,
        repr=False,
        description=(
            "Bearer token with which Prometheus reads the API's /metrics; it grants nothing else. Empty: only"
            " admins of the default project may read them."
        ),
    )
    metrics_port: int | None = Field(
        default=None,
        ge=0,
        le=65_535,
        description=(
            "Port on which this worker or dispatcher exports metrics. Each process needs its own. Empty: no metrics."
        ),
    )
    metrics_host: str = Field(
        default="127.0.0.1", description="Address of the metrics port. It requires no key: keep it in your network."
    )

    # MLflow
    mlflow_tracking_uri: str | None = Field(
        default=None,
        pattern=r"^https?://",
        repr=False,
        description=(
            "MLflow server to which finished jobs are exported: http://mlflow:5000. Set it for dispatchers "
            "and workers. Empty: no export."
        ),
    )
    mlflow_token: str | None = Field(default=None, repr=False, description="Bearer token for the MLflow server.")
    mlflow_experiment: str = Field(
        default="ttm",
        min_length=1,
        max_length=100,
        description="MLflow experiment of the runs, and prefix of the model names.",
    )
    mlflow_artifacts: bool = Field(
        default=True,
        description=(
            "Also upload students and other artifacts to MLflow if it accepts them. Their hashes are always exported."
        ),
    )
    mlflow_retry_seconds: PositiveFloat = Field(
        default=5.0,
        description="Delay before the second attempt of an export. Multiplied by four each time; ten attempts.",
    )

    traces_endpoint: str | None = Field(
        default=None,
        pattern=r"^https?://",
        description="OpenTelemetry collector, OTLP over HTTP: http://collector:4318. Empty: no traces.",
    )

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], *sources: PydanticBaseSettingsSource, **named: PydanticBaseSettingsSource
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Priority: arguments, environment variables, files named by environment variables."""
        return (named["init_settings"], named["env_settings"], SecretFiles(settings_cls))

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

    @field_validator("data_roots", mode="before")
    @classmethod
    def _split_roots(cls, value: object) -> object:
        if isinstance(value, str):
            return json.loads(value) if value.startswith("[") else [part for part in value.split(os.pathsep) if part]
        return value

    @field_validator(
        "queues",
        "allowed_hosts",
        "allowed_origins",
        "private_hosts",
        "allowed_buckets",
        "trusted_proxies",
        "oidc_hosts",
        mode="before",
    )
    @classmethod
    def _split_names(cls, value: object) -> object:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("allowed_origins", "oidc_hosts")
    @classmethod
    def _known_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(parse_origin, value))

    @field_validator("group_access", mode="before")
    @classmethod
    def _parse_groups(cls, value: object) -> object:
        return json.loads(value) if isinstance(value, str) else value

    @field_validator("oidc_issuer")
    @classmethod
    def _secure_issuer(cls, value: str | None) -> str | None:
        parsed = urlsplit(value or "")
        secure = parsed.scheme == "https" or (parsed.scheme == "http" and is_loopback(parsed.hostname or ""))
        if value is not None and (not secure or not parsed.hostname or parsed.query or parsed.fragment):
            raise ValueError("the issuer is an https:// URL without query; http:// is accepted on a loopback address")
        return value

    @model_validator(mode="after")
    def _complete_sign_on(self) -> Self:
        if self.oidc_issuer is not None and not (self.oidc_client_id and self.group_access):
            raise ValueError("oidc_issuer requires oidc_client_id and group_access")
        if self.proxy_identity is not None and not (self.trusted_proxies and self.group_access):
            raise ValueError("proxy_identity requires trusted_proxies and group_access")
        return self

    @property
    def signs_people_in(self) -> bool:
        """Whether people authenticate with an identity provider. Then nothing is open without credentials."""
        return self.oidc_issuer is not None or self.proxy_identity is not None

    @model_validator(mode="before")
    @classmethod
    def _heartbeat_follows_lease(cls, data: object) -> object:
        if isinstance(data, dict) and "lease_seconds" in data and "heartbeat_seconds" not in data:
            with suppress(TypeError, ValueError):  # reported by the field itself
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
