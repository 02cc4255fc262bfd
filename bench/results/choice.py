"""Which values of a grid are used: those with the best validation accuracy of the first seed."""

from collections.abc import Mapping, Sequence
from typing import Any

Run = Mapping[str, Any]


def chosen(variant: str, runs: Sequence[Run]) -> Mapping[str, Any]:
    """The values with the best validation accuracy; the first of several equal ones."""
    own = [run for run in runs if run["variant"] == variant]
    first = min(int(run["seed"]) for run in own)
    tried = [run for run in own if run["seed"] == first]
    values: Mapping[str, Any] = max(tried, key=lambda run: float(run["validation"]))["values"]
    return values


def final_runs(variant: str, runs: Sequence[Run]) -> list[Run]:
    """The runs with the chosen values, by seed."""
    own = [run for run in runs if run["variant"] == variant]
    if not own:
        return []
    values = chosen(variant, runs)
    return sorted((run for run in own if run["values"] == values), key=lambda run: int(run["seed"]))
