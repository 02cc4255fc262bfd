"""Typed responses about measurements and devices."""

from datetime import datetime

from ttm_client.models.base import ApiModel


class Measurement(ApiModel):
    """Latency and memory of an ONNX artifact on a device. Times are in ms, `throughput` is in images per second.
    `relative_error` is half the width of the 95 % confidence interval of the median, divided by the median.

    >>> [measured.p50_ms for measured in client.measurements.list(done.id).items]
    []
    """

    artifact: str
    device: str
    sha256: str
    runtime: str
    runtime_version: str
    provider: str
    cpu: str
    precision: str
    batch: int
    threads: int
    pinned: bool
    p50_ms: float
    p90_ms: float
    throughput: float
    repeats: int
    relative_error: float
    load_ms: float
    peak_memory_bytes: int | None
    created_at: datetime
    created_by: str | None


class Recommendation(ApiModel):
    """The file to ship on a device, with the reason as a sentence. `speedup` is the latency of the float32 file divided
    by that of the other file.

    >>> [advice.reason for advice in client.measurements.list(done.id).recommendations]
    []
    """

    device: str
    file: str
    precision: str
    batch: int
    threads: int
    speedup: float | None
    change_points: float | None
    size_ratio: float | None
    reason: str


class JobMeasurements(ApiModel):
    """All measurements of a job's ONNX artifacts, and the file to ship on each device.

    >>> measured = client.measurements.list(done.id)
    >>> measured.items, measured.recommendations
    ((), ())
    """

    items: tuple[Measurement, ...]
    recommendations: tuple[Recommendation, ...]


class Device(ApiModel):
    """A machine that measured ONNX artifacts or polled for work.

    >>> work = client.devices.claim("pi5")
    >>> [(device.name, device.measurements) for device in client.devices.list()]
    [('pi5', 0)]
    """

    name: str
    cpu: str | None
    last_seen_at: datetime
    measurements: int
    jobs: int
    last_measured_at: datetime | None
    pending_requests: int


class MeasurementRequest(ApiModel):
    """One ONNX file to measure at one batch size and number of threads (None: all cores). `state` is queued, claimed,
    done or failed.

    >>> client.devices.claim("pi5") is None
    True
    """

    id: str
    state: str
    sha256: str
    size: int
    href: str
    batch: int
    threads: int | None
    error: str | None
    created_at: datetime
    finished_at: datetime | None
