"""References to registered teachers and datasets: `teacher:NAME`, `dataset:NAME@VERSION`."""

import re
from dataclasses import dataclass

from ttm_jobs.models.registry_entry import Kind

_REFERENCE = re.compile(r"(teacher|dataset):([a-z0-9][a-z0-9._-]{0,99})(?:@([1-9][0-9]{0,8}))?")


@dataclass(frozen=True)
class Reference:
    """A reference. Without a version it refers to the latest one."""

    kind: Kind
    name: str
    version: int | None


def parse_reference(text: str) -> Reference | None:
    """Parses a reference. None for other text."""
    match = _REFERENCE.fullmatch(text)
    if match is None:
        return None
    kind: Kind = "teacher" if match[1] == "teacher" else "dataset"
    return Reference(kind, match[2], int(match[3]) if match[3] else None)


def format_reference(kind: str, name: str, version: int) -> str:
    """The reference to a version."""
    return f"{kind}:{name}@{version}"


def path_of(reference: str | None) -> str | None:
    """The API path of the version that a reference refers to."""
    parsed = None if reference is None else parse_reference(reference)
    return None if parsed is None else f"/{parsed.kind}s/{parsed.name}/versions/{parsed.version}"
