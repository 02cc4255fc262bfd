"""Many files as one zip, made while it is sent: stored as they are, and no more than a chunk of them in memory."""

import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Member:
    """A file of an archive, opened when its turn comes."""

    name: str
    size: int
    created_at: datetime
    open: Callable[[], Iterator[bytes]]


def zip_stream(members: Iterable[Member]) -> Iterator[bytes]:
    """The bytes of a zip of the members. Sizes and counts beyond those of plain zip are written as Zip64."""
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        for member in members:
            at = member.created_at
            info = zipfile.ZipInfo(member.name, (at.year, at.month, at.day, at.hour, at.minute, at.second))
            info.file_size = member.size  # by which zipfile chooses Zip64
            with archive.open(info, "w") as entry:
                for chunk in member.open():
                    entry.write(chunk)
                    yield sink.take()
            yield sink.take()
    yield sink.take()


class _Sink:
    """A file that cannot seek, and hands on what was written to it."""

    def __init__(self) -> None:
        self._written = bytearray()

    def write(self, data: bytes) -> int:
        self._written += data
        return len(data)

    def flush(self) -> None:
        """Nothing waits anywhere else."""

    def close(self) -> None:
        """Nothing is held."""

    def take(self) -> bytes:
        taken = bytes(self._written)
        self._written.clear()
        return taken
