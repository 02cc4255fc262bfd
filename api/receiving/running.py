"""The running SHA-256 of uploads whose bytes this process has received from the start."""

import hashlib
from collections import OrderedDict

_MAX_UPLOADS = 1024


class RunningDigests:
    """Keeps the hash state of the newest uploads, because hashlib cannot store it in the database."""

    def __init__(self) -> None:
        self._digests: OrderedDict[str, tuple[int, hashlib._Hash]] = OrderedDict()

    def at(self, upload_id: str, offset: int) -> "hashlib._Hash | None":
        """A copy of the hash of the upload's first `offset` bytes; None if another process received some of them."""
        if offset == 0:
            return hashlib.sha256()
        received, digest = self._digests.get(upload_id, (None, None))
        return digest.copy() if digest is not None and received == offset else None

    def keep(self, upload_id: str, offset: int, digest: "hashlib._Hash") -> None:
        """Keeps the hash of the upload's first `offset` bytes."""
        self._digests[upload_id] = (offset, digest.copy())
        self._digests.move_to_end(upload_id)
        if len(self._digests) > _MAX_UPLOADS:
            self._digests.popitem(last=False)

    def discard(self, upload_id: str) -> None:
        """Removes the hash of an upload."""
        self._digests.pop(upload_id, None)
