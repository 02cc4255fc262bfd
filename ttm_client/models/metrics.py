"""Metrics of a job."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ttm_client.models.jobs import MetricPoint

if TYPE_CHECKING:
    from pandas import DataFrame  # type: ignore[import-untyped]


class Metrics(list[MetricPoint]):
    """A list of metric points in order of their steps.

    >>> metrics = client.jobs.metrics(done.id)
    >>> [point.step for point in metrics]
    [1, 2]
    """

    def to_frame(self) -> "DataFrame":
        """Returns a pandas DataFrame with one row per step and the columns `epoch`, `at` (recording time) and one per
        metric; NaN where a step lacks a metric. Raises ImportError without pandas.

        >>> frame = client.jobs.metrics(done.id).to_frame()
        >>> frame["train/loss"].tolist()
        [1.0, 0.5]
        """
        pandas: Any = import_module("pandas")
        frame: DataFrame = pandas.DataFrame(
            [{"epoch": point.epoch, "at": point.at, **point.values} for point in self],
            index=pandas.Index([point.step for point in self], name="step"),
        )
        return frame
