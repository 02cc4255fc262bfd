"""Resumable uploads: received parts are durable, and the client continues after them."""

import hashlib
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from anyio import CancelScope, CapacityLimiter, from_thread, to_thread
from sqlalchemy import Engine
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect

from api.http.errors import BodyTimeout
from api.receiving.finalizer import Finalizer
from api.receiving.running import RunningDigests
from api.uploads import tus
from api.uploads.headers import sanitized_name
from api.uploads.service import BLOCK, EmptyUpload, remove
from ttm_jobs.database.engine import DATABASE_UNAVAILABLE, read_scope, session_scope
from ttm_jobs.database.ids import new_id
from ttm_jobs.errors import PartChecksumMismatch, ServiceError, TooLarge, UploadExpired, UploadNotFound
from ttm_jobs.models import Upload, UploadState
from ttm_jobs.repositories import uploads
from ttm_jobs.repositories.uploads import StoredPart
from ttm_jobs.storage import Storage

# If the process is killed, at most one part of this size and duration is lost.
_PART_BYTES = 64 << 20
_PART_SECONDS = 30.0


@dataclass(frozen=True)
class UploadStatus:
    """The received bytes of an upload. `expires_at` is None once it has all bytes."""

    id: str
    offset: int
    length: int
    expires_at: datetime | None

    def headers(self) -> dict[str, str]:
        offsets = {"Upload-Offset": str(self.offset), "Upload-Length": str(self.length)}
        return offsets if self.expires_at is None else offsets | tus.expires(self.expires_at)


@dataclass(frozen=True)
class Resumable:
    """Receives uploads of at most `limit` bytes in parts. Each part becomes an object; the upload is their sequence. An
    incomplete upload expires `lifetime` after its last byte.

    The last byte completes the upload if this process has received all bytes. Otherwise `finalizer` computes the hash.
    """

    engine: Engine
    storage: Storage
    limit: int
    lifetime: timedelta
    threads: CapacityLimiter
    digests: RunningDigests
    finalizer: Finalizer

    async def create(self, headers: Headers) -> UploadStatus:
        """Creates an upload without bytes. Raises InvalidRequest, EmptyUpload, TooLarge and QuotaExceeded."""
        length = tus.number(headers, "Upload-Length")
        if length == 0:
            raise EmptyUpload
        if length > self.limit:
            raise TooLarge(f"The upload is larger than the limit of {self.limit} bytes.")
        return await to_thread.run_sync(self._begin, sanitized_name(tus.file_name(headers) or ""), length)

    async def create_with_bytes(self, headers: Headers, body: AsyncIterator[bytes]) -> UploadStatus:
        """Creates an upload and appends the first bytes. Raises the errors of `create` and `append`, which leave no
        upload: the client has no address to continue with, and what it announced would count against the quota.
        """
        created = await self.create(headers)
        first = headers.mutablecopy()
        first["upload-offset"] = "0"
        try:
            return await self.append(created.id, first, body)
        except BaseException:
            self.digests.discard(created.id)
            with CancelScope(shield=True):
                await to_thread.run_sync(self._remove, created.id)
            raise

    async def status(self, upload_id: str) -> UploadStatus:
        """The received bytes of an upload. Raises UploadNotFound and UploadExpired."""
        return await to_thread.run_sync(self._status, upload_id)

    async def append(self, upload_id: str, headers: Headers, body: AsyncIterator[bytes]) -> UploadStatus:
        """Appends a body. After a disconnect the received bytes are kept, but a body with a checksum is stored only
        if it is complete.

        Raises UploadNotFound, UploadExpired, UnsupportedMediaType, InvalidRequest, UploadOffsetWrong, TooLarge,
        PartChecksumMismatch, StorageFull and BodyTimeout.
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
        body_digest = None if checksum is None else checksum.new()
        digest = self.digests.at(upload_id, offset)
        digests = [each for each in (body_digest, digest) if each is not None]
        blocks = _Blocks(body, left)
        unsaved: list[StoredPart] = []
        try:
            while (first := await blocks.next()) is not None:
                unsaved.append(
                    await to_thread.run_sync(self._store, upload_id, first, blocks, digests, limiter=self.threads)
                )
                if checksum is None:
                    status = await self._record(upload_id, status.offset, unsaved, digest)
            if checksum is not None and body_digest is not None:
                if blocks.broken or body_digest.digest() != checksum.digest:
                    raise PartChecksumMismatch
                status = await self._record(upload_id, offset, unsaved, digest)
        except BaseException:
            with CancelScope(shield=True):
                await to_thread.run_sync(self._drop, unsaved)
            raise
        if blocks.timeout is not None:
            raise blocks.timeout
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
        if upload.state is not UploadState.RECEIVING:
            return UploadStatus(upload.id, length, length, None)
        return UploadStatus(upload.id, upload.received, length, (upload.active_at or upload.created_at) + self.lifetime)

    def _store(self, upload_id: str, first: bytes, rest: "_Blocks", digests: Sequence["hashlib._Hash"]) -> StoredPart:
        """Stores a part and updates the digests with its bytes."""
        key = f"upload-parts/{upload_id}/{new_id()}"
        until = time.monotonic() + _PART_SECONDS

        def source() -> Iterator[bytes]:
            block: bytes | None = first
            taken = 0
            while block is not None:
                for digest in digests:
                    digest.update(block)
                yield block
                taken += len(block)
                if taken >= _PART_BYTES or time.monotonic() > until:
                    return
                block = from_thread.run(rest.next)

        return StoredPart(key, self.storage.put(key, source()).size)

    async def _record(
        self, upload_id: str, offset: int, unsaved: list[StoredPart], digest: "hashlib._Hash | None"
    ) -> UploadStatus:
        """Adds stored parts to the upload and clears the list. `digest` is the hash of all bytes so far, if known."""
        sha256 = None if digest is None else digest.hexdigest()

        def record() -> tuple[UploadStatus, UploadState]:
            with session_scope(self.engine) as session:
                upload = uploads.add_parts(session, upload_id, start=offset, parts=unsaved, sha256=sha256)
                return self._view(upload), upload.state

        status, state = await to_thread.run_sync(record)
        unsaved.clear()
        match state:
            case UploadState.COMPLETE:
                self.digests.discard(upload_id)
            case UploadState.FINALIZING:
                self.finalizer.wake()
            case UploadState.RECEIVING if digest is not None:
                self.digests.keep(upload_id, status.offset, digest)
        return status

    def _remove(self, upload_id: str) -> None:
        # If this fails, the upload expires.
        with suppress(ServiceError, *DATABASE_UNAVAILABLE):
            remove(self.engine, self.storage, upload_id)

    def _drop(self, unsaved: list[StoredPart]) -> None:
        for part in unsaved:
            self.storage.delete(part.key)


class _Blocks:
    """A body in blocks of about 1 MiB, until its end or a disconnect. Raises TooLarge after `limit` bytes."""

    def __init__(self, body: AsyncIterator[bytes], limit: int) -> None:
        self._body = body
        self._left = limit
        self._ended = False
        self.broken = False
        self.timeout: BodyTimeout | None = None

    async def next(self) -> bytes | None:
        block = bytearray()
        while not self._ended and len(block) < BLOCK:
            try:
                chunk = await anext(self._body, None)
            except ClientDisconnect:
                self.broken, chunk = True, None
            except BodyTimeout as error:
                # The bytes that arrived are stored first.
                self.broken, self.timeout, chunk = True, error, None
            if chunk is None:
                self._ended = True
                break
            self._left -= len(chunk)
            if self._left < 0:
                raise TooLarge("The body is longer than the remaining bytes of this upload.")
            block += chunk
        return bytes(block) or None
