"""What a folder of stores holds, told from its files alone. Torch-free, for who only wants to know."""

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class DescribedStore:
    """`bytes` are those taken on disk, `rows` the logits that are there, rounded up to whole blocks; `used_at` is when
    it was last opened (Unix seconds).
    """

    digest: str
    encoding: str
    bytes: int
    rows: int
    used_at: float


def describe_stores(root: Path) -> list[DescribedStore]:
    """All stores under a folder, in order of their digests; one that is removed meanwhile may be missing."""
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
                    rows=(len(present) - present.count(0)) * key["arithmetic"]["block"],
                    used_at=about.stat().st_mtime,
                )
            )
    return found
