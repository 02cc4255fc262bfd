"""The curves of a job."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ttm_client.models.jobs import MetricPoint

if TYPE_CHECKING:
    from pandas import DataFrame  # type: ignore[import-untyped]


class Metrics(list[MetricPoint]):
    """Points by step, in order.

    >>> metrics = client.jobs.metrics(done.id)
    >>> [point.step for point in metrics]
    [1, 2]
    """

    def to_frame(self) -> "DataFrame":
        """A pandas data frame: a row a step, with `epoch`, `at` (when it was told) and one column a metric; NaN where a
        step has no number of one. ImportError without pandas.

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
