"""Teachers' logits in the storage, so that a job on another machine starts with a full store.

A store is published in versions, `teacher-stores/DIGEST/BLOCKS/`: the file of rows, the marks of those that are there,
and last `about.json`, without which a version is not looked at. A version never changes; a fuller one replaces it.
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

from ttm_core.file_lock import FileLock
from ttm_jobs.errors import ServiceError
from ttm_jobs.storage import Storage
from worker.files import write_whole

logger = logging.getLogger(__name__)

_PREFIX = "teacher-stores"
_ABOUT = "about.json"
_FILES = ("rows", "present")


@dataclass(frozen=True)
class _Version:
    """`blocks` of a store, published."""

    digest: str
    blocks: int

    def key(self, name: str) -> str:
        return f"{_PREFIX}/{self.digest}/{self.blocks:012}/{name}"


class StoreExchange:
    """Between a machine's folder of stores and the storage.

    Args:
        storage: where all machines look.
        root: the machine's folder.
        max_bytes: that published stores may take together, the longest published removed first; 0 for none at all.
    """

    def __init__(self, storage: Storage, root: Path, max_bytes: int) -> None:
        self._storage = storage
        self._root = root
        self._max_bytes = max_bytes

    @property
    def on(self) -> bool:
        return self._max_bytes > 0

    def fetch(self, digest: str) -> bool:
        """Bring a store that is fuller in the storage than here, unless somebody has it open. Whether it came.

        Any failure is a warning: the teacher can always be run.
        """
        try:
            version = self._fullest(digest)
            if version is None or version.blocks <= self._blocks_here(digest):
                return False
            with FileLock(self._root, digest) as lock:
                if not lock.try_own() or version.blocks <= self._blocks_here(digest):
                    return False
                self._bring(version)
        except (ServiceError, OSError, ValueError, KeyError) as error:
            logger.warning("the teacher store %s could not be fetched: %s", digest[:12], error)
            return False
        logger.info("fetched the teacher store %s with %d blocks", digest[:12], version.blocks)
        return True

    def publish(self, digest: str) -> bool:
        """Keep a store in the storage, where it is fuller than what is there. Whether it was."""
        try:
            with FileLock(self._root, digest) as lock:
                lock.share()
                here = self._blocks_here(digest)
                before = self._fullest(digest)
                if here == 0 or (before is not None and before.blocks >= here):
                    return False
                self._send(_Version(digest, here))
            self._prune()
        except (ServiceError, OSError, ValueError, KeyError) as error:
            logger.warning("the teacher store %s could not be published: %s", digest[:12], error)
            return False
        logger.info("published the teacher store %s with %d blocks", digest[:12], here)
        return True

    def _blocks_here(self, digest: str) -> int:
        path = self._root / digest / "present"
        return path.read_bytes().count(1) if path.exists() else 0

    def _fullest(self, digest: str) -> _Version | None:
        versions = [version for version in self._versions(f"{_PREFIX}/{digest}") if version.digest == digest]
        return max(versions, key=lambda version: version.blocks, default=None)

    def _versions(self, prefix: str = _PREFIX) -> Iterator[_Version]:
        for key in self._storage.list(prefix):
            match key.split("/"):
                case [_, digest, blocks, name] if name == _ABOUT and blocks.isdecimal():
                    yield _Version(digest, int(blocks))

    def _about(self, version: _Version) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(b"".join(self._storage.open(version.key(_ABOUT))))
        return told

    def _send(self, version: _Version) -> None:
        folder = self._root / version.digest
        # The marks first: rows that they tell of are durable, and change no more while others are added.
        marks = (folder / "present").read_bytes()
        sent = {"present": self._storage.put(version.key("present"), [marks])}
        with (folder / "rows").open("rb") as rows:
            sent["rows"] = self._storage.put(version.key("rows"), rows)
        about = {
            "key": json.loads((folder / "key.json").read_text()),
            "files": {name: {"sha256": stored.sha256, "size": stored.size} for name, stored in sent.items()},
            "published_at": time.time(),
        }
        self._storage.put(version.key(_ABOUT), [json.dumps(about, sort_keys=True).encode()])

    def _bring(self, version: _Version) -> None:
        """Into a folder beside, which takes the store's name when it is whole. The caller owns the store's lock."""
        about = self._about(version)
        coming = self._root / f".{version.digest}.{uuid4().hex}.coming"
        try:
            for name in _FILES:
                write_whole(coming / name, self._storage.open(version.key(name)), about["files"][name]["sha256"])
            (coming / "key.json").write_text(json.dumps(about["key"], indent=2, sort_keys=True))
            shutil.rmtree(self._root / version.digest, ignore_errors=True)
            coming.rename(self._root / version.digest)
        finally:
            shutil.rmtree(coming, ignore_errors=True)

    def _prune(self) -> None:
        """Remove versions that a fuller one has replaced, and then the longest published, until the rest fits."""
        told = [(version, self._about(version)) for version in self._versions()]
        fullest: dict[str, int] = {}
        for version, _ in told:
            fullest[version.digest] = max(version.blocks, fullest.get(version.digest, 0))
        kept = []
        for version, about in told:
            if version.blocks < fullest[version.digest]:
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
        names: Sequence[str] = (_ABOUT, *_FILES)  # without the first, nobody looks at the others
        for name in names:
            self._storage.delete(version.key(name))
