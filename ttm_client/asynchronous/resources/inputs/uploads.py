"""Uploads, by the tus 1.0 protocol, which resumes after a broken connection."""

import asyncio
import base64
import os
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

from ttm_client.asynchronous.paging import pages
from ttm_client.asynchronous.polling import answer
from ttm_client.asynchronous.transport import AsyncTransport
from ttm_client.errors import ApiError, ChecksumMismatch, Conflict, ConnectionFailed, Unavailable
from ttm_client.local_files import expanded
from ttm_client.models.jobs import Inspection, Upload
from ttm_client.protocol import RECONNECT_SECONDS, Advance, segment, sha256_of
from ttm_client.references import UploadReference, upload_id
from ttm_client.responses import read, read_header, read_items
from ttm_client.unfinished_uploads import UnfinishedUpload, unfinished_upload

_CHUNK = 1 << 20
_FINALIZING_SECONDS = 0.5
_TUS = {"Tus-Resumable": "1.0.0"}
_DELETED = (404, 410)


class AsyncUploads:
    """Uploads files that the service cannot reach by itself.

    >>> upload = await client.uploads.create("teacher.safetensors")
    >>> upload.uri
    'upload:...'
    """

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def create(
        self,
        path: str | os.PathLike[str],
        progress: Advance | None = None,
        *,
        attempts: int = 8,
        reconnect_timeout: float = RECONNECT_SECONDS,
    ) -> Upload:
        """Uploads a file with constant memory and resumes after a broken connection. `progress` is called with the
        bytes sent and the total.

        Continues an upload of the same content that an earlier process did not complete: its address is stored in
        ~/.cache/ttm, or in XDG_CACHE_HOME. The service deletes incomplete uploads after some time.

        Gives up after `attempts` consecutive connections without new bytes. Raises ConnectionFailed or Unavailable if
        the first request fails, or `reconnect_timeout` seconds without an answer have passed, and ChecksumMismatch if
        the service received different bytes.

        >>> upload = await client.uploads.create("teacher.safetensors")
        >>> upload.filename, upload.size
        ('teacher.safetensors', 7)
        """
        path = expanded(path)
        digest = await asyncio.to_thread(sha256_of, path)
        return await self._send(path, digest, progress, attempts=attempts, reconnect_timeout=reconnect_timeout)

    async def ensure(self, path: str | os.PathLike[str], progress: Advance | None = None) -> Upload:
        """Returns the upload with the file's SHA-256 among the newest 200, or uploads the file.

        >>> first = await client.uploads.create("teacher.safetensors")
        >>> (await client.uploads.ensure("teacher.safetensors")).id == first.id
        True
        """
        path = expanded(path)
        digest = await asyncio.to_thread(sha256_of, path)
        response = await self._transport.request("GET", "/uploads", params={"limit": 200})
        for upload in read_items(Upload, response):
            if upload.sha256 == digest:
                return upload
        return await self._send(path, digest, progress, attempts=8, reconnect_timeout=RECONNECT_SECONDS)

    async def get(self, upload: UploadReference) -> Upload:
        """Returns an upload. Raises NotFound if it does not exist.

        >>> upload = await client.uploads.create("teacher.safetensors")
        >>> await client.uploads.get(upload.id) == upload
        True
        """
        response = await self._transport.request("GET", f"/uploads/{segment(upload_id(upload))}")
        return read(Upload, response)

    async def list(self) -> AsyncIterator[Upload]:
        """Yields complete uploads, newest first. Pages are requested as needed.

        >>> upload = await client.uploads.create("teacher.safetensors")
        >>> [each.filename async for each in client.uploads.list()]
        ['teacher.safetensors']
        """
        async for item in pages(self._transport, Upload, "/uploads", {"limit": 200}):
            yield item

    async def inspect(
        self,
        upload: UploadReference,
        *,
        architecture: str | None = None,
        key_map: dict[str, str] | None = None,
        checkpoint_key: str | None = None,
        image_size: int | None = None,
    ) -> Inspection:
        """Returns what a file is and which architectures its tensors fit. Takes seconds.

        With `architecture`, compares the file with this one first; `key_map` renames its tensors before.
        `checkpoint_key` selects a model of a file that has several. `image_size` is the side in pixels of the images
        with which an ONNX file of any size runs once.

        >>> upload = await client.uploads.create(trained)
        >>> found = await client.uploads.inspect(upload.id)
        >>> found.kind, found.candidates[0].architecture, found.candidates[0].loads
        ('safetensors', 'mini/resnet8_025', True)
        """
        body = {
            "architecture": architecture,
            "key_map": key_map,
            "checkpoint_key": checkpoint_key,
            "image_size": image_size,
        }
        response = await self._transport.request("POST", f"/uploads/{segment(upload_id(upload))}/inspect", body=body)
        return read(Inspection, response)

    async def delete(self, upload: UploadReference) -> None:
        """Deletes an upload. A job that refers to it and has not fetched it yet fails.

        >>> upload = await client.uploads.create("teacher.safetensors")
        >>> await client.uploads.delete(upload.id)
        """
        await self._transport.request("DELETE", f"/uploads/{segment(upload_id(upload))}")

    async def _send(
        self, path: Path, digest: str, progress: Advance | None, *, attempts: int, reconnect_timeout: float
    ) -> Upload:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            with unfinished_upload(self._transport.base_url, sha256=digest, size=size) as unfinished:
                href, offset = await self._begin(unfinished, path.name, size)
                fruitless = 0
                while offset < size:
                    try:
                        offset = await self._append(href, file, offset, size, progress)
                    except (ConnectionFailed, Unavailable, Conflict):
                        arrived = await answer(
                            partial(self._arrived, href), reconnect_timeout=reconnect_timeout, deadline=None
                        )
                        fruitless = 0 if arrived > offset else fruitless + 1
                        if fruitless >= attempts:
                            raise
                        offset = arrived
                        await asyncio.sleep(self._transport.pause(fruitless))
                get = partial(self.get, href.rpartition("/")[2])
                upload = await answer(get, reconnect_timeout=reconnect_timeout, deadline=None)
                while upload.state == "finalizing":
                    await asyncio.sleep(_FINALIZING_SECONDS)
                    upload = await answer(get, reconnect_timeout=reconnect_timeout, deadline=None)
                unfinished.forget()
        if upload.sha256 != digest:
            raise ChecksumMismatch(f"{path}: the local SHA-256 is {digest}, the service received {upload.sha256}")
        return upload

    async def _begin(self, unfinished: UnfinishedUpload, filename: str, size: int) -> tuple[str, int]:
        """Returns the path of the unfinished upload, or of a new one, and the number of bytes that the service has."""
        if unfinished.href is not None:
            try:
                return unfinished.href, await self._arrived(unfinished.href)
            except ApiError as error:
                if error.status not in _DELETED:
                    raise
        name = base64.b64encode(filename.encode()).decode()
        headers = {**_TUS, "Upload-Length": str(size), "Upload-Metadata": f"filename {name}"}
        # If the request is sent twice, the service deletes the upload that receives no bytes.
        created = await self._transport.request("POST", "/uploads", headers=headers, once=True)
        href = read_header(created, "location")
        unfinished.keep(href)
        return href, 0

    async def _arrived(self, href: str) -> int:
        """Returns the number of bytes that the service has."""
        status = await self._transport.request("HEAD", href, headers=_TUS)
        return int(read_header(status, "upload-offset"))

    async def _append(self, href: str, file: BinaryIO, offset: int, size: int, progress: Advance | None) -> int:
        """Sends the bytes after `offset` and returns the service's new offset."""
        file.seek(offset)
        response = await self._transport.request(
            "PATCH",
            href,
            content=_chunks(file, offset, size, progress),
            headers={
                **_TUS,
                "Content-Length": str(size - offset),
                "Content-Type": "application/offset+octet-stream",
                "Upload-Offset": str(offset),
            },
            timeout=600.0,
        )
        return int(read_header(response, "upload-offset"))


async def _chunks(file: BinaryIO, sent: int, size: int, progress: Advance | None) -> AsyncIterator[bytes]:
    while chunk := await asyncio.to_thread(file.read, _CHUNK):
        yield chunk
        sent += len(chunk)
        if progress is not None:
            progress(sent, size)
