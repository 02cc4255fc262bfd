"""What several jobs have in common, and where they differ."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from api.jobs.schemas import JobOut


@dataclass(frozen=True)
class Difference:
    """A field of the spec by its dotted name, and what it is in each job; None where a job has no such field."""

    field: str
    values: list[str | None]


def differences(jobs: Sequence[JobOut]) -> list[Difference]:
    """The fields of the specs that are not the same in all, in the order in which specs have them."""
    flat = [_flat(job.spec) for job in jobs]
    fields = dict.fromkeys(name for spec in flat for name in spec)
    found = [Difference(name, [spec.get(name) for spec in flat]) for name in fields if name != "name"]
    return [difference for difference in found if len(set(difference.values)) > 1]


def _flat(value: Any, at: str = "") -> dict[str, str]:
    if isinstance(value, dict):
        return {
            name: text for key, part in value.items() for name, text in _flat(part, f"{at}.{key}".lstrip(".")).items()
        }
    return {at: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}
