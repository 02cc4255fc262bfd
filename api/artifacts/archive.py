"""Streams several files as one zip, without compression and with constant memory."""

import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Member:
    """A file of an archive. `open` is called when its content is sent."""

    name: str
    size: int
    created_at: datetime
    open: Callable[[], Iterator[bytes]]


def zip_stream(members: Iterable[Member]) -> Iterator[bytes]:
    """The bytes of a zip archive of the members. Uses Zip64 where sizes or counts require it."""
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        for member in members:
            at = member.created_at
            info = zipfile.ZipInfo(member.name, (at.year, at.month, at.day, at.hour, at.minute, at.second))
            info.file_size = member.size  # zipfile uses it to decide on Zip64
            with archive.open(info, "w") as entry:
                for chunk in member.open():
                    entry.write(chunk)
                    yield sink.take()
            yield sink.take()
    yield sink.take()


class _Sink:
    """A file object without seek that buffers written bytes until `take`."""

    def __init__(self) -> None:
        self._written = bytearray()

    def write(self, data: bytes) -> int:
        self._written += data
        return len(data)

    def flush(self) -> None:
        """Does nothing: there is no other buffer."""

    def close(self) -> None:
        """Does nothing."""

    def take(self) -> bytes:
        taken = bytes(self._written)
        self._written.clear()
        return taken
