"""The dispatcher: intervals and retention."""

from pydantic import Field, PositiveFloat, field_validator

from ttm_jobs.settings.base import DEFAULT_QUEUE, Queues, SettingsGroup, empty_as_null


class Dispatcher(SettingsGroup):
    """Intervals and retention."""

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
        description=(
            "Days after a job's end until its artifacts, except the log, are deleted. Those of unfinished studies'"
            " jobs are kept. Empty: never."
        ),
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
            "Days after the last job that refers to an upload until it is deleted. Uploads of unfinished jobs,"
            " unfinished studies and registry entries are kept. Empty: never."
        ),
    )
    queue_name: str = Field(
        default="ttm.jobs",
        min_length=1,
        max_length=100,
        description="Name of the service's queues at the broker, followed by the name of each queue except `default`.",
    )
    queues: Queues = Field(
        default=(DEFAULT_QUEUE,),
        min_length=1,
        description=(
            "Separated by commas. For the API: the queues that a job may name; the first is the default. For "
            "a worker: the queues that it serves in order of preference."
        ),
    )

    # The names of these validators differ between groups: equal ones would replace each other.
    _no_retention = field_validator(
        "artifacts_retention_days",
        "logs_retention_days",
        "checkpoints_retention_days",
        "events_retention_days",
        "metrics_retention_days",
        "audit_retention_days",
        "uploads_retention_days",
        mode="before",
    )(empty_as_null)
