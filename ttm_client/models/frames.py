"""Typed responses as pandas data frames."""

from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ttm_client.models.base import ApiModel

if TYPE_CHECKING:
    from pandas import DataFrame  # type: ignore[import-untyped]


def to_frame(items: Iterable[ApiModel]) -> "DataFrame":
    """Returns a pandas DataFrame with one row per item and one column per field; fields of a part, such as a job's
    accuracy, have columns such as `accuracy.student`. Items with an `id` are indexed by it. Raises ImportError without
    pandas.

    >>> frame = to_frame(client.jobs.list(state="succeeded"))
    >>> frame.loc[done.id, "accuracy.student"].item()
    0.88
    """
    pandas: Any = import_module("pandas")
    # Maps with arbitrary keys stay one cell: a column for each metric or tag of any job would be of little use.
    rows = [_row(item) for item in items]
    frame: DataFrame = pandas.DataFrame(rows)
    return frame.set_index("id") if "id" in frame.columns else frame


def _row(item: ApiModel, prefix: str = "") -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name in type(item).model_fields:
        value = getattr(item, name)
        row |= _row(value, f"{prefix}{name}.") if isinstance(value, ApiModel) else {f"{prefix}{name}": value}
    return row
