"""The storage contract."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import BinaryIO, Protocol

from ttm_jobs.errors import Invalid

CHUNK = 1024**2

_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")


@dataclass(frozen=True)
class Stored:
    """Size in bytes and SHA-256 (hex) of a written object."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Label:
    """Content type and file name that a download of an object reports."""

    media_type: str
    filename: str


class Storage(Protocol):
    """Immutable objects under keys such as `jobs/ID/3/student.safetensors`. Writes are atomic."""

    def put(self, key: str, source: BinaryIO | Iterable[bytes], label: Label | None = None) -> Stored:
        """Writes an object and replaces an existing one atomically. Raises StorageFull and errors of the source; both
        leave nothing behind.
        """
        ...

    def open(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Yields the bytes from `start` to `end` (exclusive) in chunks. Raises ObjectNotFound immediately, not at the
        first chunk.
        """
        ...

    def size(self, key: str) -> int:
        """Returns the size in bytes. Raises ObjectNotFound."""
        ...

    def url(self, key: str) -> str | None:
        """Returns a presigned URL for GET, valid for 15 minutes; None if the backend has none. Does not check that the
        object exists.
        """
        ...

    def delete(self, key: str) -> None:
        """Deletes an object. A missing object is no error."""
        ...

    def list(self, prefix: str = "") -> Iterator[str]:
        """Yields the keys under a prefix of whole path segments, in order."""
        ...

    def sweep(self, older_than: timedelta) -> int:
        """Deletes partial writes that have not grown for this long. Returns their number."""
        ...

    def check(self) -> None:
        """Raises OSError or ServiceError if the storage cannot be used."""
        ...


def check_key(key: str) -> str:
    """Returns a valid key: segments of letters, digits, `._-`, not starting with a dot or dash, separated by slashes.
    Raises Invalid.
    """
    if len(key) > 512 or not all(_PART.fullmatch(part) for part in key.split("/")):
        raise Invalid(f"{key!r} is not a storage key")
    return key


def chunks_of(source: BinaryIO | Iterable[bytes]) -> Iterator[bytes]:
    """Yields a source of `put` in chunks."""
    if hasattr(source, "read"):
        while chunk := source.read(CHUNK):
            yield chunk
    else:
        yield from source
