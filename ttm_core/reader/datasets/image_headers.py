"""Hashes encoded images and reads their headers."""

import hashlib
import os
import signal
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NoReturn

from ttm_core.data.encoded.headers import RECORD, Source, read_header

# Headers take less than a millisecond; Pillow reads the comments of a PPM file byte by byte.
_HEADER_SECONDS = 1.0


def write_records(target: Path, files: Sequence[Path], ranges: Sequence[Sequence[int]] | None) -> None:
    """Appends one `RECORD` for each image to `target`.

    Each record is written before the next image is read, so the records show which image crashed the process.

    Args:
        target: an empty file.
        files: the images, or the files that contain them.
        ranges: file index, offset and length in bytes of each image; None if each file is an image.
    """
    warnings.simplefilter("ignore")  # unusual EXIF blocks and palettes do not affect the pixels
    with target.open("ab", buffering=0) as out:
        if ranges is None:
            for path in files:
                out.write(_record_of_file(path))
        else:
            for content in _contents(files, ranges):
                out.write(_record(content, hashlib.sha256(content).digest()))


def _contents(files: Sequence[Path], ranges: Sequence[Sequence[int]]) -> Iterator[bytes]:
    with ExitStack() as held:
        opened = [held.enter_context(path.open("rb", buffering=0)) for path in files]
        for file, offset, length in ranges:
            yield os.pread(opened[file].fileno(), length, offset)


def _record_of_file(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").digest()
    except OSError as error:
        return _unreadable(bytes(32), error)
    return _record(path, sha256)


def _record(source: Source, sha256: bytes) -> bytes:
    try:
        with _cpu_limit():
            header = read_header(source)
    except Exception as error:  # Pillow raises exceptions of any type for damaged files
        return _unreadable(sha256, error)
    return RECORD.pack(sha256, header.width, header.height, header.gray, b"")


@contextmanager
def _cpu_limit() -> Iterator[None]:
    """Raises TimeoutError in the block after a second of CPU time: every later access reads the header again."""
    signal.signal(signal.SIGPROF, _exceeded)
    signal.setitimer(signal.ITIMER_PROF, _HEADER_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _exceeded(_signal: int, _frame: object) -> NoReturn:
    raise TimeoutError(f"reading the header takes more than {_HEADER_SECONDS:g} s")


def _unreadable(sha256: bytes, error: Exception) -> bytes:
    return RECORD.pack(sha256, 0, 0, False, f"{type(error).__name__}: {error}".encode(errors="replace"))
