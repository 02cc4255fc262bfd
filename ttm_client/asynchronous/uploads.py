"""Uploads: files a job needs that the service cannot reach by itself."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from ttm_client.asynchronous.transport import AsyncTransport
from ttm_client.errors import ChecksumMismatch
from ttm_client.models import Upload
from ttm_client.protocol import Advance

_CHUNK = 1 << 20


class AsyncUploads:
    """Sends files that the service cannot reach by itself.

    >>> upload = await client.uploads.create("teacher.safetensors")
    >>> upload.uri
    'upload:...'
    """

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def create(self, path: str | os.PathLike[str], progress: Advance | None = None) -> Upload:
        """Send a file, in flat memory. `progress` is called with (bytes sent, bytes in all).

        ChecksumMismatch if the service received other bytes than were read here.

        >>> upload = await client.uploads.create("teacher.safetensors")
        >>> upload.filename, upload.size
        ('teacher.safetensors', 7)
        """
        path = Path(path)
        digest = hashlib.sha256()
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            response = await self._transport.request(
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

    async def get(self, upload_id: str) -> Upload:
        """An upload by its id; NotFound if there is none.

        >>> upload = await client.uploads.create("teacher.safetensors")
        >>> await client.uploads.get(upload.id) == upload
        True
        """
        response = await self._transport.request("GET", f"/uploads/{quote(upload_id, safe='')}")
        return Upload.model_validate_json(response.content)


async def _chunks(
    file: BinaryIO, size: int, update: Callable[[bytes], None], progress: Advance | None
) -> AsyncIterator[bytes]:
    sent = 0
    while chunk := await asyncio.to_thread(file.read, _CHUNK):
        update(chunk)
        yield chunk
        sent += len(chunk)
        if progress is not None:
            progress(sent, size)
