"""The local files of a run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ttm_core.errors import BadSpec
from ttm_core.models.hub.published import is_published
from ttm_core.spec.job import DistillSpec


@dataclass(frozen=True)
class Inputs:
    """The local files of a run."""

    dataset: Path
    unlabelled: Sequence[Path] = ()
    """In the order of the spec."""
    teachers: Sequence[Path | None] = ()
    """In the order of the spec; None for published weights, which the run downloads itself."""
    student: Path | None = None
    """Initial weights; None without them, and for published weights."""
    data_cache: Path | None = None
    """Folder of unpacked datasets that runs share; by default within the work directory."""
    data_cache_max_bytes: int | None = None
    """Limit of the data cache; the least recently used entries are deleted first. None for no limit."""

    @classmethod
    def from_spec(cls, spec: DistillSpec) -> "Inputs":
        """The files of a spec whose URIs are file://. Raises BadSpec for any other URI."""
        return cls(
            dataset=_local(spec.dataset.uri),
            unlabelled=[_local(uri) for uri in spec.dataset.unlabelled],
            teachers=[
                None if is_published(teacher.checkpoint) else _local(teacher.checkpoint)
                for teacher in spec.all_teachers
            ],
            student=None
            if spec.student.checkpoint is None or is_published(spec.student.checkpoint)
            else _local(spec.student.checkpoint),
        )


def _local(uri: str) -> Path:
    parts = urlsplit(uri)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        raise BadSpec(f"{uri!r} is not a local file: without a worker, the engine reads file:// URIs only")
    return Path(unquote(parts.path))
