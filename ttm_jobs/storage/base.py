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
        """The bytes from `start` up to, not including, `end`, in chunks. ObjectNotFound at once, not at the first
        chunk.
        """
        ...

    def size(self, key: str) -> int:
        """In bytes; ObjectNotFound."""
        ...

    def url(self, key: str) -> str | None:
        """An address that sends the object, which may be missing, to any GET for a quarter of an hour; None where the
        backend has none.
        """
        ...

    def delete(self, key: str) -> None:
        """Removes an object; no error if it is not there."""
        ...

    def list(self, prefix: str = "") -> Iterator[str]:
        """The keys under a prefix of whole parts, in order."""
        ...

    def sweep(self, older_than: timedelta) -> int:
        """Removes what writers that died left half written, and nobody has added to for this long. Returns how many
        pieces that were.
        """
        ...

    def check(self) -> None:
        """Raises OSError or ServiceError if the storage cannot be used."""
        ...


def check_key(key: str) -> str:
    """The key, if it is one: parts of plain characters between slashes, none of them hidden or a way upwards.
    Invalid.
    """
    if len(key) > 512 or not all(_PART.fullmatch(part) for part in key.split("/")):
        raise Invalid(f"{key!r} is no storage key")
    return key


def chunks_of(source: BinaryIO | Iterable[bytes]) -> Iterator[bytes]:
    """The bytes of what `put` takes, in pieces."""
    if hasattr(source, "read"):
        while chunk := source.read(CHUNK):
            yield chunk
    else:
        yield from source
