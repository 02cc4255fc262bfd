"""How a spec names a teacher or a dataset of its project: `teacher:NAME`, `dataset:NAME@VERSION`."""

import re
from dataclasses import dataclass

from ttm_jobs.models.registry_entry import Kind

_REFERENCE = re.compile(r"(teacher|dataset):([a-z0-9][a-z0-9._-]{0,99})(?:@([1-9][0-9]{0,8}))?")


@dataclass(frozen=True)
class Reference:
    """Without a version it stands for the newest."""

    kind: Kind
    name: str
    version: int | None


def parse_reference(text: str) -> Reference | None:
    """None for what has another form."""
    match = _REFERENCE.fullmatch(text)
    if match is None:
        return None
    kind: Kind = "teacher" if match[1] == "teacher" else "dataset"
    return Reference(kind, match[2], int(match[3]) if match[3] else None)


def written(kind: str, name: str, version: int) -> str:
    """The reference to one version."""
    return f"{kind}:{name}@{version}"


def path_of(reference: str | None) -> str | None:
    """Where the version that a reference names is shown."""
    parsed = None if reference is None else parse_reference(reference)
    return None if parsed is None else f"/{parsed.kind}s/{parsed.name}/versions/{parsed.version}"
