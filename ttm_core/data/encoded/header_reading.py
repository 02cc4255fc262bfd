"""Reads the headers of many images in reader processes, ahead of their decoding."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttm_core.data.encoded.headers import RECORD
from ttm_core.data.encoded.slices import Slices
from ttm_core.errors import BadDataset
from ttm_core.reader.process import read_untrusted

# The start of a process takes as long as a hundred headers.
_CHUNK = 4096
# A dataset with more images that crash the process is hostile.
_MAX_CRASHES = 8
_RECORDS = np.dtype([("sha256", "u1", 32), ("width", "<i4"), ("height", "<i4"), ("gray", "?"), ("reason", "S160")])
assert _RECORDS.itemsize == RECORD.size


@dataclass(frozen=True)
class Headers:
    """The headers of n consecutive images."""

    start: int
    digests: NDArray[np.uint8]  # [n, 32] SHA-256 of each encoded image
    sizes: NDArray[np.int32]  # [n, 2] width and height in pixels; 0 for unreadable images
    gray: NDArray[np.bool_]  # [n]
    reasons: list[str]  # [n]; "" for images whose headers are valid


def read_headers(sources: Sequence[Path] | Slices) -> Iterator[Headers]:
    """Yields the headers of all images in order. One process reads while the caller uses earlier headers.

    An image that crashes its process, or makes it exceed a limit, is unreadable.

    Raises:
        BadDataset: images crashed too many processes.
    """
    reader = _Reader(sources)
    with ThreadPoolExecutor(1, "image-headers") as ahead:
        yield from ahead.map(reader.read, range(0, len(sources), _CHUNK))


class _Reader:
    def __init__(self, sources: Sequence[Path] | Slices) -> None:
        self._sources = sources
        self._crashes = 0

    def read(self, start: int) -> Headers:
        end = min(start + _CHUNK, len(self._sources))
        records = np.zeros(end - start, _RECORDS)
        done = 0
        while done < len(records):
            found, crash = self._run(start + done, end)
            records[done : done + len(found)] = found
            done += len(found)
            if crash is not None and done < len(records):
                self._crashes += 1
                if self._crashes > _MAX_CRASHES:
                    raise crash
                records[done]["reason"] = crash.message.encode()
                done += 1
        reasons = [reason.decode(errors="replace") for reason in records["reason"].tolist()]
        sizes = np.stack([records["width"], records["height"]], axis=1)
        return Headers(start, records["sha256"].copy(), sizes, records["gray"].copy(), reasons)

    def _run(self, start: int, end: int) -> tuple[NDArray[Any], BadDataset | None]:
        """The records that one process wrote for the images from `start` to `end`, and what stopped it."""
        arguments, reads, size = _chunk(self._sources, start, end)
        crash = None
        with tempfile.TemporaryDirectory(prefix="ttm-headers-") as folder:
            target = Path(folder) / "records"
            try:
                read_untrusted(
                    "image_headers",
                    {**arguments, "target": str(target)},
                    input_bytes=size,
                    file_bytes=(end - start) * RECORD.size,
                    error=BadDataset,
                    subject="The image",
                    reads=reads,
                    writes=[folder],
                )
            except BadDataset as error:
                crash = error
            written = target.read_bytes() if target.exists() else b""
        return np.frombuffer(written, _RECORDS, len(written) // RECORD.size), crash


def _chunk(sources: Sequence[Path] | Slices, start: int, end: int) -> tuple[dict[str, Any], set[str | Path], int]:
    """The arguments for the images from `start` to `end`, the paths to read, and the size in bytes."""
    if isinstance(sources, Slices):
        ranges = sources.ranges[start:end]
        arguments = {"files": [str(path) for path in sources.files], "ranges": ranges.tolist()}
        return arguments, set(sources.files), int(ranges[:, 2].sum())
    paths = sources[start:end]
    reads: set[str | Path] = {os.path.dirname(path) for path in paths}
    reads |= {path for path in paths if os.path.islink(path)}
    return {"files": [str(path) for path in paths], "ranges": None}, reads, sum(path.stat().st_size for path in paths)
