"""Manifests: what decoding and hashing every image of a dataset once has shown, kept in the data cache for later runs.

A manifest is valid for one content. Archives and packed files are identified by their hash. Files of the user's folders
are identified by path, size, modification time and inode.
"""

import hashlib
import json
import os
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import PIL
from numpy.typing import NDArray

from ttm_core.data.cache import DataCache
from ttm_core.data.encoded.decoding import Source, decode, is_gray, opened
from ttm_core.data.images import Sources, map_ordered

_FORMAT = 1
# A file that changes twice within the resolution of its file system's clock keeps its modification time.
_SETTLED_NS = 2_000_000_000


@dataclass(frozen=True)
class Reading:
    """How to read encoded images."""

    max_unreadable: float
    """Share of unreadable images above which a dataset is refused."""
    pool: ThreadPoolExecutor
    cache: DataCache
    """Keeps the manifests."""
    content: str | None = None
    """The hash of the archive or the packed files that contain the images; None for files that may change."""


@dataclass(frozen=True)
class Manifest:
    """The state of N images of one split."""

    digests: NDArray[np.uint8]  # [N, 32] SHA-256 of each encoded image
    sizes: NDArray[np.int32]  # [N, 2] width and height in pixels; 0 for unreadable images
    gray: NDArray[np.bool_]  # [N]
    reasons: Mapping[int, str]  # why an image is unreadable, by its index

    @property
    def readable(self) -> NDArray[np.int64]:
        """The indices of the readable images."""
        return np.flatnonzero(self.sizes[:, 0])


class Slices:
    """Byte ranges of large files, read on access.

    Args:
        files: they stay open as long as this object exists.
        ranges: int64 [N, 3]: file index, offset and length in bytes.
    """

    def __init__(self, files: Sequence[Path], ranges: NDArray[np.int64]) -> None:
        self.files = files
        self.ranges = ranges
        self._open = [path.open("rb", buffering=0) for path in files]

    def __len__(self) -> int:
        return len(self.ranges)

    def __getitem__(self, index: int, /) -> bytes:
        file, offset, length = (int(value) for value in self.ranges[index])
        # pread does not move the file position, so threads can share the descriptor.
        return os.pread(self._open[file].fileno(), length, offset)


def manifests_of(splits: Mapping[str, Sequence[Path] | Slices], reading: Reading) -> tuple[dict[str, Manifest], int]:
    """The manifest of each split, and the number of images that were decoded for it: 0 if it was in the cache.

    Processes that need the same manifest at the same time build it once.
    """
    identity = _identity(splits, reading.content)
    if identity is None:
        return _check(splits, reading.pool), sum(map(len, splits.values()))
    decoded = 0

    def make(folder: Path) -> None:
        nonlocal decoded
        for name, manifest in _check(splits, reading.pool).items():
            _write(manifest, folder / name)
            decoded += len(manifest.digests)

    folder = reading.cache.folder(f"manifest-{identity}", make)
    return {name: _read(folder / name) for name in splits}, decoded


def _identity(splits: Mapping[str, Sequence[Path] | Slices], content: str | None) -> str | None:
    """A hash that changes with the content of the splits; None if a file has just changed."""
    digest = hashlib.sha256(f"{_FORMAT} {PIL.__version__} {content}".encode())
    newest = 0
    for name, sources in splits.items():
        digest.update(f"\0{name} {len(sources)}\0".encode())
        if isinstance(sources, Slices):
            digest.update(np.ascontiguousarray(sources.ranges).tobytes())
        files: Iterable[Path] = sources.files if isinstance(sources, Slices) else sources
        for path in files:
            if content is not None:
                digest.update(f"{path.name}\0".encode())
                continue
            found = path.stat()
            newest = max(newest, found.st_mtime_ns)
            digest.update(f"{path}\0{found.st_size} {found.st_mtime_ns} {found.st_ino}\0".encode())
    return None if newest > time.time_ns() - _SETTLED_NS else digest.hexdigest()


def _check(splits: Mapping[str, Sources], pool: ThreadPoolExecutor) -> dict[str, Manifest]:
    return {name: _check_split(sources, pool) for name, sources in splits.items()}


def _check_split(sources: Sources, pool: ThreadPoolExecutor) -> Manifest:
    """Hashes and decodes every image."""
    count = len(sources)
    digests, sizes = np.zeros((count, 32), np.uint8), np.zeros((count, 2), np.int32)
    gray, reasons = np.zeros(count, bool), {}
    for index, found in enumerate(map_ordered(pool, partial(_inspect, sources), count)):
        digests[index] = np.frombuffer(found.sha256, np.uint8)
        sizes[index], gray[index] = (found.width, found.height), found.gray
        if found.reason is not None:
            reasons[index] = found.reason
    return Manifest(digests, sizes, gray, reasons)


@dataclass(frozen=True)
class _Inspected:
    sha256: bytes = bytes(32)
    width: int = 0
    height: int = 0
    gray: bool = False
    reason: str | None = None


def _inspect(sources: Sources, index: int) -> _Inspected:
    sha256 = bytes(32)
    try:
        source = sources[index]
        sha256 = _sha256(source)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with opened(source) as image:
                width, height, gray = image.width, image.height, is_gray(image)
        decode(source, 1)
    except Exception as error:  # Pillow's decoders raise exceptions of any type for damaged files
        return _Inspected(sha256, reason=f"{type(error).__name__}: {error}")
    return _Inspected(sha256, width, height, gray)


def _sha256(source: Source) -> bytes:
    if isinstance(source, bytes):
        return hashlib.sha256(source).digest()
    with source.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()


def _write(manifest: Manifest, path: Path) -> None:
    np.savez(path.with_suffix(".npz"), digests=manifest.digests, sizes=manifest.sizes, gray=manifest.gray)
    path.with_suffix(".json").write_text(json.dumps(list(manifest.reasons.items())))


def _read(path: Path) -> Manifest:
    with np.load(path.with_suffix(".npz"), allow_pickle=False) as arrays:
        reasons = {int(index): str(reason) for index, reason in json.loads(path.with_suffix(".json").read_text())}
        return Manifest(arrays["digests"], arrays["sizes"], arrays["gray"], reasons)
