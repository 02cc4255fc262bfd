"""The base of typed responses, and how notebooks show them: as tables and as data frames."""

from collections.abc import Iterable
from datetime import datetime
from html import escape
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from pandas import DataFrame  # type: ignore[import-untyped]

_LONGEST = 200


class ApiModel(BaseModel):
    """A typed response. Unknown fields are ignored, so an older client works with a newer service."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    def _repr_html_(self) -> str:
        """The fields that have a value, as a table."""
        values = ((name, getattr(self, name)) for name in type(self).model_fields)
        rows = (f"<tr><th>{escape(name)}</th><td>{_cell(value)}</td></tr>" for name, value in values if _shown(value))
        return f"<table><caption>{escape(type(self).__name__)}</caption>{''.join(rows)}</table>"


def html_table(columns: list[str], rows: list[list[Any]]) -> str:
    """A table for a notebook, with all text escaped."""
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(f"<tr>{''.join(f'<td>{_cell(value)}</td>' for value in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _shown(value: Any) -> bool:
    return value is not None and value not in ([], {}, ())


def _cell(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool() | str() | int():
            text = str(value)
        case float():
            text = f"{value:.4g}"
        case datetime():
            text = f"{value:%Y-%m-%d %H:%M:%S %Z}"
        case list() | tuple() if value and isinstance(value[0], BaseModel):
            text = f"{len(value)} of {type(value[0]).__name__}"
        case BaseModel():
            parts = ((name, getattr(value, name)) for name in type(value).model_fields)
            text = ", ".join(f"{name} {_cell_text(part)}" for name, part in parts if _shown(part))
        case _:
            text = str(value)
    return escape(text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…")


def _cell_text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def to_frame(items: "ApiModel | Iterable[ApiModel]") -> "DataFrame":
    """Returns a pandas DataFrame with one row per item and one column per field; fields of a part, such as a job's
    accuracy, have columns such as `accuracy.student`. Items with an `id` are indexed by it. A single response is one
    row. Raises ImportError without pandas, and TypeError for items that are no responses.

    >>> frame = to_frame(client.jobs.list(states=["succeeded"]))
    >>> frame.loc[done.id, "accuracy.student"].item()
    0.88
    """
    pandas: Any = import_module("pandas")
    # Maps with arbitrary keys stay one cell: a column for each metric or tag of any job would be of little use.
    rows = [_row(item) for item in ([items] if isinstance(items, ApiModel) else items)]
    frame: DataFrame = pandas.DataFrame(rows)
    return frame.set_index("id") if "id" in frame.columns else frame


def _row(item: ApiModel, prefix: str = "") -> dict[str, Any]:
    if not isinstance(item, ApiModel):
        raise TypeError(f"Expected responses of the client, not {type(item).__name__}.")
    row: dict[str, Any] = {}
    for name in type(item).model_fields:
        value = getattr(item, name)
        row |= _row(value, f"{prefix}{name}.") if isinstance(value, ApiModel) else {f"{prefix}{name}": value}
    return row
