"""Plots on a terminal."""

from ttm_client.cli.plots import Point, scatter


def plot(points: list[Point]) -> list[str]:
    labels = {"x_label": "size in kB", "y_label": "accuracy", "x_format": "{:.0f}", "y_format": "{:.0%}"}
    return scatter(points, **labels).splitlines()


def position(lines: list[str], mark: str) -> tuple[int, int]:
    """Column and row of a mark in the area of the plot."""
    ((row, line),) = [(row, line) for row, line in enumerate(lines) if mark in line.partition("┤")[2]]
    return line.partition("┤")[2].index(mark), row


def test_larger_values_are_further_right_and_higher() -> None:
    lines = plot([Point(10, 0.5, "a"), Point(20, 0.9, "b"), Point(15, 0.7, "c")])
    (left, lowest), (right, highest), (middle, between) = (position(lines, mark) for mark in "abc")
    assert left < middle < right
    assert lowest > between > highest
    assert (lines[0], lines[-1].strip()) == ("accuracy", "size in kB")
    assert max(map(len, lines)) < 80


def test_one_point_and_equal_points_are_drawn() -> None:
    assert position(plot([Point(5, 0.5, "a")]), "a")
    lines = plot([Point(0, 0, "a"), Point(0, 0, "b")])
    assert position(lines, "b")
    assert not any("a" in line.partition("┤")[2] for line in lines), "the later one covers the earlier one"


def test_an_axis_does_not_reach_below_zero() -> None:
    lines = plot([Point(5, 0.01, "a"), Point(80, 0.9, "b")])
    assert lines[-2].split()[0] == "0"
    assert lines[-4].split()[0] == "0%"
