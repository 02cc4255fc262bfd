"""Names of files in remote folders."""

from pathlib import PurePosixPath

from ttm_core.spec.names import has_unsafe_characters
from ttm_jobs.errors import SourceRefused


def check_name(name: str) -> None:
    """Raises SourceRefused unless a relative path from a bucket or repository is safe to write."""
    path = PurePosixPath(name)
    unsafe = path.is_absolute() or ".." in path.parts or "\\" in name or has_unsafe_characters(name)
    if unsafe or any(len(part.encode()) > 255 for part in path.parts):
        raise SourceRefused(f"Not a valid file name: {name!r}.")
