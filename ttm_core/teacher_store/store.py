"""A folder of teacher stores, shared by processes, that evicts the least recently used stores."""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ttm_core.files.durable import write_durably
from ttm_core.files.locks import FileLock
from ttm_core.teacher_store.codecs import Codec
from ttm_core.teacher_store.key import StoreKey
from ttm_core.teacher_store.logits_file import LogitsFile


@dataclass(frozen=True)
class Stores:
    """A folder of stores and its size limit in bytes."""

    root: Path
    max_bytes: int = 50 * 2**30
    fetch: Callable[[str], None] = lambda digest: None
    """Called with the digest of a key before its store is opened; may download the store."""


@dataclass(frozen=True)
class StoreInfo:
    """A store on disk: the digest of its key, its size in bytes, and the Unix time of its last use."""

    digest: str
    bytes: int
    used_at: float


@contextmanager
def open_store(root: Path, key: StoreKey, codec: Codec, *, ends: NDArray[np.int64]) -> Iterator[LogitsFile]:
    """Opens the store of a key, and creates it if necessary. `prune` does not delete open stores. `ends` are those of
    `LogitsFile`.

    Runs with different numbers of views share a store: row numbers do not depend on the number of views, and the file
    grows to the largest number.
    """
    folder = root / key.digest
    with FileLock(root, key.digest) as lock:
        lock.acquire_shared()
        folder.mkdir(parents=True, exist_ok=True)
        about = folder / "key.json"
        if not about.exists():
            write_durably(about, json.dumps(asdict(key), indent=2, sort_keys=True).encode())
        os.utime(about)
        file = LogitsFile(folder, codec, ends=ends)
        try:
            yield file
        finally:
            file.close()


def list_stores(root: Path) -> list[StoreInfo]:
    """Lists all stores, the most recently used first."""
    if not root.is_dir():
        return []
    found = []
    for folder in root.iterdir():
        about = folder / "key.json"
        if about.exists():
            size = sum(path.stat().st_blocks * 512 for path in folder.iterdir())
            found.append(StoreInfo(folder.name, size, about.stat().st_mtime))
    return sorted(found, key=lambda info: info.used_at, reverse=True)


def prune(root: Path, max_bytes: int) -> list[str]:
    """Deletes the least recently used stores that are not open until the rest fits. Returns their digests."""
    stores = list_stores(root)
    total = sum(info.bytes for info in stores)
    removed = []
    for info in reversed(stores):
        if total <= max_bytes:
            break
        if _remove(root, info.digest):
            removed.append(info.digest)
            total -= info.bytes
    return removed


def _remove(root: Path, digest: str) -> bool:
    with FileLock(root, digest) as lock:
        if not lock.try_acquire_exclusive():
            return False
        removed = root / f".{digest}.{os.getpid()}.{time.monotonic_ns()}.removed"
        (root / digest).rename(removed)
        shutil.rmtree(removed)
        return True
