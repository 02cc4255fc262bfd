"""Workers: leases of jobs, and limits on trainers."""

from contextlib import suppress
from typing import Literal, Self

from pydantic import (
    Field,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from ttm_jobs.settings.base import SettingsGroup, empty_as_null


class Workers(SettingsGroup):
    """Leases, attempts and trainers."""

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
            "Fork trainers from a process with imported libraries (about 400 MB), so that jobs start seconds earlier."
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
    trainer_cgroups: Literal["auto", "off"] = Field(
        default="auto",
        description=(
            "auto: the kernel enforces the memory limit of a trainer with a control group, if one of version 2 is "
            "delegated to the worker (docs/how-to/run-in-production.md); otherwise the worker samples the memory five "
            "times a second, as with off."
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
            "auto: run the trainer in a sandbox as far as the system supports it: it reads only the data roots, the "
            "work directory and programs, writes only to the work directory and temporary folders, and reaches no "
            "other host, except the Hugging Face Hub for published weights (Linux; docs/security.md). off: no sandbox."
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

    _no_memory_limit = field_validator("trainer_memory_bytes", mode="before")(empty_as_null)

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
