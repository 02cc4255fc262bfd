"""Plots of characters for the terminal."""

from collections.abc import Sequence
from dataclasses import dataclass

_HEIGHT = 11
_WIDTH = 56
_MARGIN = 0.08


@dataclass(frozen=True)
class Point:
    """A point with the character that marks it."""

    x: float
    y: float
    mark: str


def scatter(points: Sequence[Point], *, x_label: str, y_label: str, x_format: str, y_format: str) -> str:
    """A scatter plot with axes, at most 79 columns wide. A later point covers an earlier one in the same place.

    Args:
        points: at least one.
        x_label, y_label: names of the axes.
        x_format, y_format: format strings of their ends, such as `{:.1%}`.
    """
    left, right = _ends([point.x for point in points])
    low, high = _ends([point.y for point in points])
    rows = [[" "] * _WIDTH for _ in range(_HEIGHT)]
    for point in points:
        column = round((point.x - left) / (right - left) * (_WIDTH - 1))
        row = round((high - point.y) / (high - low) * (_HEIGHT - 1))
        rows[row][column] = point.mark
    labels = {0: y_format.format(high), _HEIGHT - 1: y_format.format(low)}
    gutter = max(len(label) for label in labels.values())
    lines = [y_label]
    lines += [f"{labels.get(index, ''):>{gutter}} ┤{''.join(row).rstrip()}" for index, row in enumerate(rows)]
    start, end = x_format.format(left), x_format.format(right)
    lines.append(f"{'':>{gutter}} └{'─' * _WIDTH}")
    lines.append(f"{'':>{gutter}}  {start}{end:>{_WIDTH - len(start)}}")
    lines.append(f"{'':>{gutter}}  {x_label:^{_WIDTH}}".rstrip())
    return "\n".join(lines)


def _ends(values: Sequence[float]) -> tuple[float, float]:
    """The ends of an axis, with a margin around the values."""
    low, high = min(values), max(values)
    margin = (high - low) * _MARGIN or abs(high) * _MARGIN or 1.0
    # No cost is below 0.
    return max(low - margin, min(low, 0.0)), high + margin
