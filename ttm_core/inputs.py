"""The local files that a run reads."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ttm_core.errors import BadSpec
from ttm_core.spec import DistillSpec
from ttm_core.teachers import hub


@dataclass(frozen=True)
class Inputs:
    """Local files of a run."""

    dataset: Path
    teachers: Sequence[Path | None] = ()
    """In the order of the spec; None for published weights, which the run fetches itself."""
    student: Path | None = None
    data_cache: Path | None = None
    """Where unpacked datasets are kept for other runs, too; within the work directory when left out."""
    data_cache_bytes: int | None = None
    """What is kept there at most, the least recently used removed first; None for no bound."""

    @classmethod
    def of(cls, spec: DistillSpec) -> "Inputs":
        """The files that a spec of file:// URIs names. Raises BadSpec for any other URI."""
        return cls(
            dataset=_local(spec.dataset.uri),
            teachers=[
                None if hub.is_published(teacher.checkpoint) else _local(teacher.checkpoint)
                for teacher in spec.all_teachers
            ],
            student=_local(spec.student.checkpoint) if spec.student.checkpoint else None,
        )


def _local(uri: str) -> Path:
    parts = urlsplit(uri)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        raise BadSpec(f"{uri!r} is not a local file: alone, the engine reads file:// URIs only")
    return Path(unquote(parts.path))
