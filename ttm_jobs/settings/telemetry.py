"""Metrics, traces and the export to MLflow."""

from pydantic import Field, PositiveFloat, field_validator

from ttm_jobs.settings.base import SettingsGroup, empty_as_null


class Telemetry(SettingsGroup):
    """Metrics, traces and the export to MLflow."""

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

    _no_telemetry = field_validator(
        "metrics_token", "metrics_port", "mlflow_tracking_uri", "traces_endpoint", mode="before"
    )(empty_as_null)
