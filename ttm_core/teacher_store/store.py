"""A folder of teacher stores: opened by key, shared by processes, bounded by least recent use."""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from ttm_core.file_lock import FileLock
from ttm_core.models.weights import write_durably
from ttm_core.teacher_store.codecs import Codec
from ttm_core.teacher_store.key import StoreKey
from ttm_core.teacher_store.logits_file import LogitsFile


@dataclass(frozen=True)
class Stores:
    """A folder of stores, and the bytes that they may take together."""

    root: Path
    max_bytes: int = 50 * 2**30
    fetch: Callable[[str], None] = lambda digest: None
    """Asked before a store is opened, by its key's digest: it may be brought from elsewhere."""


@dataclass(frozen=True)
class StoreInfo:
    """A store as it lies on disk: its key's digest, the bytes it takes, and when it was last opened (Unix seconds)."""

    digest: str
    bytes: int
    used_at: float


@contextmanager
def open_store(root: Path, key: StoreKey, codec: Codec, *, rows: int, blocks: int) -> Iterator[LogitsFile]:
    """The store of a key, made if it is not there; while it is open, `prune` leaves it alone.

    Stores of one key and another number of views are the same store: a row's number does not depend on how many views
    there are, so the file grows to the largest number that was asked for.
    """
    folder = root / key.digest
    with FileLock(root, key.digest) as lock:
        lock.share()
        folder.mkdir(parents=True, exist_ok=True)
        about = folder / "key.json"
        if not about.exists():
            write_durably(about, json.dumps(asdict(key), indent=2, sort_keys=True).encode())
        os.utime(about)
        file = LogitsFile(folder, codec, rows=rows, blocks=blocks)
        try:
            yield file
        finally:
            file.close()


def list_stores(root: Path) -> list[StoreInfo]:
    """All stores, the most recently used first."""
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
    """Remove the least recently used stores that nobody has open until the rest fits; returns their digests."""
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
        if not lock.try_own():
            return False
        doomed = root / f".{digest}.{os.getpid()}.{time.monotonic_ns()}.removed"
        (root / digest).rename(doomed)
        shutil.rmtree(doomed)
        return True
