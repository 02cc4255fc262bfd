"""Manifests: hash, size and readability of every image of a dataset, kept in the data cache for later runs.

A reader process hashes the images and reads their headers; this process decodes the pixels.

A manifest is valid for one content. Archives and packed files are identified by their hash. Files of the user's folders
are identified by path, size, modification time and inode.
"""

import hashlib
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import PIL
from numpy.typing import NDArray

from ttm_core.data.cache import DataCache
from ttm_core.data.encoded.decoding import decode
from ttm_core.data.encoded.header_reading import Headers, read_headers
from ttm_core.data.encoded.slices import Slices
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


def identity_of(files: Iterable[Path], content: str | None) -> str | None:
    """A hash that changes with the content of the files; None if a file has just changed.

    Args:
        files: the files in order.
        content: the hash of what they were copied from, if they cannot change.
    """
    digest = hashlib.sha256(f"{_FORMAT} {content}".encode())
    newest = 0
    for path in files:
        if content is not None:
            digest.update(f"{path.name}\0".encode())
            continue
        found = path.stat()
        newest = max(newest, found.st_mtime_ns)
        digest.update(f"{path}\0{found.st_size} {found.st_mtime_ns} {found.st_ino}\0".encode())
    return None if newest > time.time_ns() - _SETTLED_NS else digest.hexdigest()


def _identity(splits: Mapping[str, Sequence[Path] | Slices], content: str | None) -> str | None:
    digest = hashlib.sha256(PIL.__version__.encode())
    for name, sources in splits.items():
        digest.update(f"\0{name} {len(sources)}\0".encode())
        if isinstance(sources, Slices):
            digest.update(np.ascontiguousarray(sources.ranges).tobytes())
        files = identity_of(sources.files if isinstance(sources, Slices) else sources, content)
        if files is None:
            return None
        digest.update(files.encode())
    return digest.hexdigest()


def _check(splits: Mapping[str, Sequence[Path] | Slices], pool: ThreadPoolExecutor) -> dict[str, Manifest]:
    return {name: _check_split(sources, pool) for name, sources in splits.items()}


def _check_split(sources: Sequence[Path] | Slices, pool: ThreadPoolExecutor) -> Manifest:
    """Hashes every image and reads its header in a reader process, then decodes it."""
    count = len(sources)
    digests, sizes = np.zeros((count, 32), np.uint8), np.zeros((count, 2), np.int32)
    gray = np.zeros(count, bool)
    reasons: dict[int, str] = {}
    for found in read_headers(sources):
        part = slice(found.start, found.start + len(found.digests))
        digests[part], sizes[part], gray[part] = found.digests, found.sizes, found.gray
        checked = map_ordered(pool, partial(_problem, sources, found), len(found.reasons))
        reasons.update((found.start + row, reason) for row, reason in enumerate(checked) if reason)
    sizes[list(reasons)] = 0
    return Manifest(digests, sizes, gray, reasons)


def _problem(sources: Sources, found: Headers, row: int) -> str:
    """Why an image is unreadable; "" if it is not."""
    if found.reasons[row]:
        return found.reasons[row]
    try:
        decode(sources[found.start + row], 1)
    except Exception as error:  # Pillow's decoders raise exceptions of any type for damaged files
        return f"{type(error).__name__}: {error}"
    return ""


def _write(manifest: Manifest, path: Path) -> None:
    np.savez(path.with_suffix(".npz"), digests=manifest.digests, sizes=manifest.sizes, gray=manifest.gray)
    path.with_suffix(".json").write_text(json.dumps(list(manifest.reasons.items())))


def _read(path: Path) -> Manifest:
    with np.load(path.with_suffix(".npz"), allow_pickle=False) as arrays:
        reasons = {int(index): str(reason) for index, reason in json.loads(path.with_suffix(".json").read_text())}
        return Manifest(arrays["digests"], arrays["sizes"], arrays["gray"], reasons)
