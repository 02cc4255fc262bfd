"""Compared jobs grouped by spec: jobs that differ only in their seed are runs of one configuration."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from api.comparisons.schemas import FieldDifference

# Fields that do not change what is trained.
_NAMES = ("name", "tags", "priority")
_SEED = "training.seed"
_MOST_FIELDS = 2


class Described(Protocol):
    """What identifies a job's configuration."""

    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str | None: ...
    @property
    def student(self) -> str: ...
    @property
    def spec(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Group:
    """Jobs that differ only in their seed. `members` are positions in the list of compared jobs."""

    label: str
    members: list[int]


def differences(jobs: Sequence[Described]) -> list[FieldDifference]:
    """The fields whose values differ between the jobs' specs, in spec order."""
    flat = [_flat(job.spec) for job in jobs]
    fields = dict.fromkeys(name for spec in flat for name in spec if name != "name")
    found = [FieldDifference(field=name, values=[spec.get(name) for spec in flat]) for name in fields]
    return [each for each in found if len(set(each.values)) > 1]


def groups(jobs: Sequence[Described]) -> list[Group]:
    """The groups in the order of their first jobs."""
    members: dict[tuple[tuple[str, str], ...], list[int]] = {}
    for index, job in enumerate(jobs):
        flat = _flat(job.spec)
        key = tuple(
            (name, value) for name, value in flat.items() if name != _SEED and name.partition(".")[0] not in _NAMES
        )
        members.setdefault(key, []).append(index)
    distinguishing = [each.field for each in differences(jobs) if each.field != _SEED and each.field not in _NAMES]
    return [Group(_label([jobs[index] for index in found], distinguishing), found) for found in members.values()]


def seed_of(job: Described) -> int:
    """The seed of a job."""
    return int(job.spec.get("training", {}).get("seed", 0))


def _label(jobs: Sequence[Described], distinguishing: Sequence[str]) -> str:
    """The job's name; for several jobs their common name, or the student and what distinguishes it."""
    first, names = jobs[0], {job.name for job in jobs}
    if len(names) == 1 and first.name:
        return first.name
    if len(jobs) == 1:
        return first.id[:13]
    flat = _flat(first.spec)
    fields = [name for name in distinguishing if not name.startswith("student") and name in flat]
    return ", ".join([first.student, *(f"{name}={flat[name]}" for name in fields[:_MOST_FIELDS])])


def _flat(value: Any, at: str = "") -> dict[str, str]:
    if isinstance(value, dict):
        parts = (_flat(part, f"{at}.{key}".lstrip(".")) for key, part in value.items())
        return {name: text for part in parts for name, text in part.items()}
    return {at: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}
