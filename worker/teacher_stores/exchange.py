"""Teacher stores in the storage, shared between machines.

A store is published in immutable versions, `teacher-stores/DIGEST/BLOCKS/`: the rows, the markers of present blocks,
and finally `about.json`, which completes the version. A fuller version replaces it.
"""

import json
import logging
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from ttm_core.files.locks import FileLock
from ttm_core.teacher_store.listing import count_blocks
from ttm_jobs.errors import ServiceError
from ttm_jobs.storage import Storage
from worker.files import write_atomically

logger = logging.getLogger(__name__)

_PREFIX = "teacher-stores"
_ABOUT = "about.json"
_FILES = ("rows", "present")


@dataclass(frozen=True)
class _Version:
    """A published version with `blocks` present blocks."""

    digest: str
    blocks: int

    def key(self, name: str) -> str:
        return f"{_PREFIX}/{self.digest}/{self.blocks:012}/{name}"


class StoreExchange:
    """Transfers stores between a machine's folder and the storage.

    Args:
        storage: the storage shared by all machines.
        root: the machine's folder.
        max_bytes: total size of published stores; the oldest are removed first. 0 disables the exchange.
    """

    def __init__(self, storage: Storage, root: Path, max_bytes: int) -> None:
        self._storage = storage
        self._root = root
        self._max_bytes = max_bytes

    @property
    def on(self) -> bool:
        return self._max_bytes > 0

    def fetch(self, digest: str) -> bool:
        """Download a store if the published version has more blocks and no process uses the local one.

        Failures are logged as warnings only, because the teacher can always compute missing blocks.

        Returns:
            Whether the store was downloaded.
        """
        try:
            version = self._latest(digest)
            if version is None or version.blocks <= self._local_blocks(digest):
                return False
            with FileLock(self._root, digest) as lock:
                if not lock.try_acquire_exclusive() or version.blocks <= self._local_blocks(digest):
                    return False
                self._download(version)
        except (ServiceError, OSError, ValueError, KeyError) as error:
            logger.warning("Teacher store %s could not be downloaded: %s", digest[:12], error)
            return False
        logger.info("Downloaded teacher store %s with %d blocks", digest[:12], version.blocks)
        return True

    def publish(self, digest: str) -> bool:
        """Uploads a store if it is fuller than the published version. Returns whether it did."""
        try:
            with FileLock(self._root, digest) as lock:
                lock.acquire_shared()
                blocks = self._local_blocks(digest)
                before = self._latest(digest)
                if blocks == 0 or (before is not None and before.blocks >= blocks):
                    return False
                self._upload(_Version(digest, blocks))
            self._prune()
        except (ServiceError, OSError, ValueError, KeyError) as error:
            logger.warning("Teacher store %s could not be published: %s", digest[:12], error)
            return False
        logger.info("Published teacher store %s with %d blocks", digest[:12], blocks)
        return True

    def _local_blocks(self, digest: str) -> int:
        path = self._root / digest / "present"
        return count_blocks(path.read_bytes()) if path.exists() else 0

    def _latest(self, digest: str) -> _Version | None:
        versions = [version for version in self._versions(f"{_PREFIX}/{digest}") if version.digest == digest]
        return max(versions, key=lambda version: version.blocks, default=None)

    def _versions(self, prefix: str = _PREFIX) -> Iterator[_Version]:
        for key in self._storage.list(prefix):
            match key.split("/"):
                case [_, digest, blocks, name] if name == _ABOUT and blocks.isdecimal():
                    yield _Version(digest, int(blocks))

    def _about(self, version: _Version) -> dict[str, Any]:
        about: dict[str, Any] = json.loads(b"".join(self._storage.open(version.key(_ABOUT))))
        return about

    def _upload(self, version: _Version) -> None:
        folder = self._root / version.digest
        # The markers first: marked rows are durable and do not change while others are added.
        markers = (folder / "present").read_bytes()
        sent = {"present": self._storage.put(version.key("present"), [markers])}
        with (folder / "rows").open("rb") as rows:
            sent["rows"] = self._storage.put(version.key("rows"), rows)
        about = {
            "key": json.loads((folder / "key.json").read_text()),
            "files": {name: {"sha256": stored.sha256, "size": stored.size} for name, stored in sent.items()},
            "published_at": time.time(),
        }
        self._storage.put(version.key(_ABOUT), [json.dumps(about, sort_keys=True).encode()])

    def _download(self, version: _Version) -> None:
        """Downloads to a temporary folder, then renames it. The caller owns the store's lock."""
        about = self._about(version)
        partial = self._root / f".{version.digest}.{uuid4().hex}.partial"
        try:
            for name in _FILES:
                write_atomically(partial / name, self._storage.open(version.key(name)), about["files"][name]["sha256"])
            (partial / "key.json").write_text(json.dumps(about["key"], indent=2, sort_keys=True))
            shutil.rmtree(self._root / version.digest, ignore_errors=True)
            partial.rename(self._root / version.digest)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _prune(self) -> None:
        """Deletes replaced versions, then the oldest ones until the rest fits."""
        published = [(version, self._about(version)) for version in self._versions()]
        most_blocks: dict[str, int] = {}
        for version, _ in published:
            most_blocks[version.digest] = max(version.blocks, most_blocks.get(version.digest, 0))
        kept = []
        for version, about in published:
            if version.blocks < most_blocks[version.digest]:
                self._delete(version)
            else:
                kept.append((about["published_at"], sum(file["size"] for file in about["files"].values()), version))
        total = sum(size for _, size, _ in kept)
        for _, size, version in sorted(kept, key=lambda each: each[0]):
            if total <= self._max_bytes:
                return
            self._delete(version)
            total -= size

    def _delete(self, version: _Version) -> None:
        names: Sequence[str] = (_ABOUT, *_FILES)  # deleting about.json first makes the version incomplete
        for name in names:
            self._storage.delete(version.key(name))
