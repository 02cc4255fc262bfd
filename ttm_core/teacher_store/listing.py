"""Lists teacher stores from their files. Torch-free, for workers."""

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MARK_BYTES = 4  # of a block in the file `present`


@dataclass(frozen=True)
class DescribedStore:
    """A store: `bytes` on disk, `rows` of logits rounded up to blocks, and `used_at`, the Unix time of its last use."""

    digest: str
    encoding: str
    bytes: int
    rows: int
    used_at: float


def count_blocks(marks: bytes) -> int:
    """The number of blocks that are present, from the content of a store's file `present`."""
    whole = len(marks) // MARK_BYTES * MARK_BYTES
    return sum(map(bool, memoryview(marks)[:whole].cast("I")))


def describe_stores(root: Path) -> list[DescribedStore]:
    """Describes all stores in a folder, sorted by digest. Stores removed concurrently may be missing."""
    found = []
    for about in sorted(root.glob("[0-9a-f]*/key.json")):
        with suppress(OSError, ValueError, KeyError):
            key = json.loads(about.read_text())
            present = (about.parent / "present").read_bytes()
            found.append(
                DescribedStore(
                    digest=about.parent.name,
                    encoding=key["encoding"],
                    bytes=sum(path.stat().st_blocks * 512 for path in about.parent.iterdir()),
                    rows=count_blocks(present) * key["arithmetic"]["block"],
                    used_at=about.stat().st_mtime,
                )
            )
    return found
