"""Compared jobs grouped by spec: jobs that differ only in their seed are runs of one configuration."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from api.comparisons.labels import Described, label
from api.comparisons.schemas import FieldDifference

_NAMES = ("name", "tags", "priority")
_SEED = "training.seed"


@dataclass(frozen=True)
class Group:
    """Jobs that differ only in their seed. `members` are positions in the list of compared jobs."""

    label: str
    members: list[int]


def differences(jobs: Sequence[Described]) -> list[FieldDifference]:
    """The fields whose values differ between the jobs' specs, in spec order."""
    return _differing([_flat(job.spec) for job in jobs])


def groups(jobs: Sequence[Described]) -> list[Group]:
    """The groups in the order of their first jobs."""
    flat = [_flat(job.spec) for job in jobs]
    members: dict[tuple[tuple[str, str], ...], list[int]] = {}
    for index, spec in enumerate(flat):
        key = tuple((name, value) for name, value in spec.items() if name != _SEED and not _is_name(name))
        members.setdefault(key, []).append(index)
    differing = (each.field for each in _differing(flat))
    distinguishing = [
        name for name in differing if name != _SEED and not _is_name(name) and not name.startswith("student")
    ]
    return [
        Group(label([jobs[index] for index in found], flat[found[0]], distinguishing), found)
        for found in members.values()
    ]


def seed_of(job: Described) -> int:
    """The seed of a job."""
    return int(job.spec.get("training", {}).get("seed", 0))


def by_seed(runs: Iterable[tuple[int, float | None]]) -> dict[int, float]:
    """The accuracy of each seed, from pairs of a seed and an accuracy. Runs with equal seeds count once, with their
    mean: they repeat one result, so they say nothing about the deviation over seeds.
    """
    values: dict[int, list[float]] = {}
    for seed, value in runs:
        if value is not None:
            values.setdefault(seed, []).append(value)
    return {seed: fmean(found) for seed, found in values.items()}


def _differing(flat: Sequence[dict[str, str]]) -> list[FieldDifference]:
    fields = dict.fromkeys(name for spec in flat for name in spec if name != "name")
    found = [FieldDifference(field=name, values=[spec.get(name) for spec in flat]) for name in fields]
    return [each for each in found if len(set(each.values)) > 1]


def _is_name(field: str) -> bool:
    """Whether a field does not change what is trained."""
    return field.partition(".")[0] in _NAMES


def mean_and_deviation(values: Sequence[float]) -> tuple[float | None, float | None]:
    """The mean, and the standard deviation of two or more values; else None."""
    return fmean(values) if values else None, stdev(values) if len(values) > 1 else None


def _flat(value: Any, at: str = "") -> dict[str, str]:
    if isinstance(value, dict):
        parts = (_flat(part, f"{at}.{key}".lstrip(".")) for key, part in value.items())
        return {name: text for part in parts for name, text in part.items()}
    return {at: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}
