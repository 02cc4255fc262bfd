# Made from ttm_client/asynchronous/uploads.py by `python -m ttm_client.make_synchronous`: change it there.
"""Uploads: files a job needs that the service cannot reach by itself."""

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from ttm_client.errors import ChecksumMismatch
from ttm_client.models import Upload
from ttm_client.protocol import Advance
from ttm_client.synchronous.transport import Transport

_CHUNK = 1 << 20


class Uploads:
    """Sends files that the service cannot reach by itself.

    >>> upload = client.uploads.create("teacher.safetensors")
    >>> upload.uri
    'upload:...'
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, path: str | os.PathLike[str], progress: Advance | None = None) -> Upload:
        """Send a file, in flat memory. `progress` is called with (bytes sent, bytes in all).

        ChecksumMismatch if the service received other bytes than were read here.

        >>> upload = client.uploads.create("teacher.safetensors")
        >>> upload.filename, upload.size
        ('teacher.safetensors', 7)
        """
        path = Path(path)
        digest = hashlib.sha256()
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            response = self._transport.request(
                "POST",
                "/uploads",
                content=_chunks(file, size, digest.update, progress),
                headers={
                    "Content-Length": str(size),
                    "Content-Type": "application/octet-stream",
                    "Content-Disposition": f"attachment; filename*=utf-8''{quote(path.name, safe='')}",
                },
                timeout=600.0,
            )
        upload = Upload.model_validate_json(response.content)
        if upload.sha256 != digest.hexdigest():
            raise ChecksumMismatch(f"{path}: sent {digest.hexdigest()}, the service has {upload.sha256}")
        return upload

    def get(self, upload_id: str) -> Upload:
        """An upload by its id; NotFound if there is none.

        >>> upload = client.uploads.create("teacher.safetensors")
        >>> client.uploads.get(upload.id) == upload
        True
        """
        response = self._transport.request("GET", f"/uploads/{quote(upload_id, safe='')}")
        return Upload.model_validate_json(response.content)


def _chunks(file: BinaryIO, size: int, update: Callable[[bytes], None], progress: Advance | None) -> Iterator[bytes]:
    sent = 0
    while chunk := file.read(_CHUNK):
        update(chunk)
        yield chunk
        sent += len(chunk)
        if progress is not None:
            progress(sent, size)
