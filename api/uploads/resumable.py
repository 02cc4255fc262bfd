"""Resumable uploads: received parts are durable, and the client continues after them."""

import hashlib
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from anyio import CancelScope, CapacityLimiter, from_thread, to_thread
from sqlalchemy import Engine
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect

from api.uploads import tus
from api.uploads.headers import sanitized_name
from api.uploads.service import BLOCK, EmptyUpload
from ttm_jobs.database.engine import read_scope, session_scope
from ttm_jobs.database.ids import new_id
from ttm_jobs.errors import ObjectNotFound, PartChecksumMismatch, TooLarge, UploadExpired, UploadNotFound
from ttm_jobs.models import Upload, UploadState
from ttm_jobs.repositories import uploads
from ttm_jobs.storage import Storage

# If the process is killed, at most one part of this size and duration is lost.
_PART_BYTES = 64 << 20
_PART_SECONDS = 30.0

# Uploads that this process is assembling.
_finishing: set[str] = set()


@dataclass(frozen=True)
class UploadStatus:
    """The received bytes of an upload. `expires_at` is None once it is complete."""

    id: str
    offset: int
    length: int
    expires_at: datetime | None

    def headers(self) -> dict[str, str]:
        offsets = {"Upload-Offset": str(self.offset), "Upload-Length": str(self.length)}
        return offsets if self.expires_at is None else offsets | tus.expires(self.expires_at)


@dataclass(frozen=True)
class Resumable:
    """Receives uploads of at most `limit` bytes in parts. An incomplete upload expires `lifetime` after its last
    byte.
    """

    engine: Engine
    storage: Storage
    limit: int
    lifetime: timedelta
    threads: CapacityLimiter

    async def create(self, headers: Headers) -> UploadStatus:
        """Creates an upload without bytes. Raises InvalidRequest, EmptyUpload, TooLarge and QuotaExceeded."""
        length = tus.number(headers, "Upload-Length")
        if length == 0:
            raise EmptyUpload
        if length > self.limit:
            raise TooLarge(f"The upload is larger than the limit of {self.limit} bytes.")
        return await to_thread.run_sync(self._begin, sanitized_name(tus.file_name(headers) or ""), length)

    async def status(self, upload_id: str) -> UploadStatus:
        """The received bytes of an upload. Raises UploadNotFound and UploadExpired."""
        status = await to_thread.run_sync(self._status, upload_id)
        if status.expires_at is not None and status.offset == status.length and upload_id not in _finishing:
            # The process that received the last byte ended before it assembled the upload.
            await to_thread.run_sync(self._finish, upload_id, limiter=self.threads)
        return status

    async def append(self, upload_id: str, headers: Headers, body: AsyncIterator[bytes]) -> UploadStatus:
        """Appends a body. After a disconnect the received bytes are kept, but a body with a checksum is stored only
        if it is complete.

        Raises UploadNotFound, UploadExpired, UnsupportedMediaType, InvalidRequest, UploadOffsetWrong, TooLarge,
        PartChecksumMismatch and StorageFull.
        """
        status = await to_thread.run_sync(self._status, upload_id)
        tus.check_content_type(headers)
        offset = tus.number(headers, "Upload-Offset")
        uploads.check_offset(status.offset, offset)
        checksum = tus.checksum(headers)
        announced = headers.get("content-length", "")
        left = status.length - offset
        if announced.isdecimal() and int(announced) > left:
            raise TooLarge(f"The body is longer than the {left} remaining bytes of this upload.")
        digest = None if checksum is None else checksum.new()
        blocks = _Blocks(body, left)
        unsaved: list[tuple[str, int]] = []
        try:
            while (first := await blocks.next()) is not None:
                key, size = await to_thread.run_sync(
                    self._store, upload_id, first, blocks, digest, limiter=self.threads
                )
                unsaved.append((key, size))
                if checksum is None:
                    await to_thread.run_sync(self._record, upload_id, offset, unsaved)
                    offset += size
            if checksum is not None and digest is not None:
                if blocks.broken or digest.digest() != checksum.digest:
                    raise PartChecksumMismatch
                await to_thread.run_sync(self._record, upload_id, offset, unsaved)
        except BaseException:
            with CancelScope(shield=True):
                await to_thread.run_sync(self._drop, unsaved)
            raise
        status = await to_thread.run_sync(self._status, upload_id)
        if status.offset == status.length and status.expires_at is not None:
            await to_thread.run_sync(self._finish, upload_id, limiter=self.threads)
        return status

    def _begin(self, filename: str | None, length: int) -> UploadStatus:
        with session_scope(self.engine) as session:
            upload = uploads.create(session, filename=filename, media_type="application/octet-stream", size=length)
            return self._view(upload)

    def _status(self, upload_id: str) -> UploadStatus:
        with read_scope(self.engine) as session:
            upload = uploads.get(session, upload_id)
            if upload.state is UploadState.RECEIVING and upload.size is None:
                # An upload in one request does not exist until it is complete.
                raise UploadNotFound
            if uploads.is_expired(session, upload, self.lifetime):
                raise UploadExpired
            return self._view(upload)

    def _view(self, upload: Upload) -> UploadStatus:
        length = upload.size or 0
        if upload.state is UploadState.COMPLETE:
            return UploadStatus(upload.id, length, length, None)
        return UploadStatus(upload.id, upload.received, length, (upload.active_at or upload.created_at) + self.lifetime)

    def _store(self, upload_id: str, first: bytes, rest: "_Blocks", digest: "hashlib._Hash | None") -> tuple[str, int]:
        """Stores a part and returns its key and size."""
        key = f"upload-parts/{upload_id}/{new_id()}"
        until = time.monotonic() + _PART_SECONDS

        def source() -> Iterator[bytes]:
            block: bytes | None = first
            taken = 0
            while block is not None:
                if digest is not None:
                    digest.update(block)
                yield block
                taken += len(block)
                if taken >= _PART_BYTES or time.monotonic() > until:
                    return
                block = from_thread.run(rest.next)

        return key, self.storage.put(key, source()).size

    def _record(self, upload_id: str, offset: int, unsaved: list[tuple[str, int]]) -> None:
        with session_scope(self.engine) as session:
            for key, size in unsaved:
                uploads.add_part(session, upload_id, start=offset, size=size, key=key)
                offset += size
        unsaved.clear()

    def _drop(self, unsaved: list[tuple[str, int]]) -> None:
        for key, _ in unsaved:
            self.storage.delete(key)

    def _finish(self, upload_id: str) -> None:
        """Assembles the parts into one object. Concurrent calls give the same object."""
        _finishing.add(upload_id)
        try:
            with read_scope(self.engine) as session:
                upload = uploads.get(session, upload_id)
                parts = uploads.parts(session, upload_id)
            if upload.state is UploadState.COMPLETE:
                return
            try:
                stored = self.storage.put(
                    upload.key, (chunk for part in parts for chunk in self.storage.open(part.key))
                )
            except ObjectNotFound:
                if self._status(upload_id).expires_at is None:
                    return
                raise
            with session_scope(self.engine) as session:
                uploads.complete(session, upload_id, size=stored.size, sha256=stored.sha256)
            for part in parts:
                self.storage.delete(part.key)
        finally:
            _finishing.discard(upload_id)


class _Blocks:
    """A body in blocks of about 1 MiB, until its end or a disconnect. Raises TooLarge after `limit` bytes."""

    def __init__(self, body: AsyncIterator[bytes], limit: int) -> None:
        self._body = body
        self._left = limit
        self._ended = False
        self.broken = False

    async def next(self) -> bytes | None:
        block = bytearray()
        while not self._ended and len(block) < BLOCK:
            try:
                chunk = await anext(self._body, None)
            except ClientDisconnect:
                self.broken, chunk = True, None
            if chunk is None:
                self._ended = True
                break
            self._left -= len(chunk)
            if self._left < 0:
                raise TooLarge("The body is longer than the remaining bytes of this upload.")
            block += chunk
        return bytes(block) or None
