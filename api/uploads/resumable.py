"""Uploads in parts: what has arrived is durable, and goes on from there."""

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
from api.uploads.headers import plain_name
from api.uploads.service import BLOCK, EmptyUpload
from ttm_jobs.database.engine import read_scope, session_scope
from ttm_jobs.database.ids import new_id
from ttm_jobs.errors import ObjectNotFound, PartChecksumMismatch, TooLarge, UploadExpired, UploadNotFound
from ttm_jobs.models import Upload, UploadState
from ttm_jobs.repositories import uploads
from ttm_jobs.storage import Storage

# A process that is killed loses of a request's body no more than this, nor more than this time's worth.
_PART_BYTES = 64 << 20
_PART_SECONDS = 30.0

# Being put together by this process.
_finishing: set[str] = set()


@dataclass(frozen=True)
class UploadStatus:
    """How far an upload has come. `expires_at` is None for one that is complete."""

    id: str
    offset: int
    length: int
    expires_at: datetime | None

    def headers(self) -> dict[str, str]:
        known = {"Upload-Offset": str(self.offset), "Upload-Length": str(self.length)}
        return known if self.expires_at is None else known | tus.expires(self.expires_at)


@dataclass(frozen=True)
class Resumable:
    """Receives uploads of at most `limit` bytes in parts, each kept for `life` after its last byte."""

    engine: Engine
    storage: Storage
    limit: int
    life: timedelta
    threads: CapacityLimiter

    async def create(self, headers: Headers) -> UploadStatus:
        """An upload without bytes yet. InvalidRequest, EmptyUpload, TooLarge, QuotaExceeded."""
        length = tus.number(headers, "Upload-Length")
        if length == 0:
            raise EmptyUpload
        if length > self.limit:
            raise TooLarge(f"An upload has at most {self.limit} bytes.")
        return await to_thread.run_sync(self._begin, plain_name(tus.file_name(headers) or ""), length)

    async def standing(self, upload_id: str) -> UploadStatus:
        """UploadNotFound, UploadExpired."""
        standing = await to_thread.run_sync(self._standing, upload_id)
        if standing.expires_at is not None and standing.offset == standing.length and upload_id not in _finishing:
            # Whoever received its last byte ended before it was put together.
            await to_thread.run_sync(self._finish, upload_id, limiter=self.threads)
        return standing

    async def append(self, upload_id: str, headers: Headers, body: AsyncIterator[bytes]) -> UploadStatus:
        """Takes what comes, also of a client that goes away in the middle. A body with a checksum is taken whole or not
        at all.

        UploadNotFound, UploadExpired, UnsupportedMediaType, InvalidRequest, UploadOffsetWrong, TooLarge,
        PartChecksumMismatch, StorageFull.
        """
        standing = await to_thread.run_sync(self._standing, upload_id)
        tus.check_content_type(headers)
        offset = tus.number(headers, "Upload-Offset")
        uploads.check_offset(standing.offset, offset)
        checksum = tus.checksum(headers)
        announced = headers.get("content-length", "")
        left = standing.length - offset
        if announced.isdecimal() and int(announced) > left:
            raise TooLarge(f"Only {left} bytes of this upload are missing.")
        digest = None if checksum is None else checksum.new()
        blocks = _Blocks(body, left)
        held: list[tuple[str, int]] = []
        try:
            while (first := await blocks.next()) is not None:
                key, size = await to_thread.run_sync(
                    self._store, upload_id, first, blocks, digest, limiter=self.threads
                )
                held.append((key, size))
                if checksum is None:
                    await to_thread.run_sync(self._keep, upload_id, offset, held)
                    offset += size
            if checksum is not None and digest is not None:
                if blocks.broken or digest.digest() != checksum.digest:
                    raise PartChecksumMismatch
                await to_thread.run_sync(self._keep, upload_id, offset, held)
        except BaseException:
            with CancelScope(shield=True):
                await to_thread.run_sync(self._drop, held)
            raise
        standing = await to_thread.run_sync(self._standing, upload_id)
        if standing.offset == standing.length and standing.expires_at is not None:
            await to_thread.run_sync(self._finish, upload_id, limiter=self.threads)
        return standing

    def _begin(self, filename: str | None, length: int) -> UploadStatus:
        with session_scope(self.engine) as session:
            upload = uploads.create(session, filename=filename, media_type="application/octet-stream", size=length)
            return self._view(upload)

    def _standing(self, upload_id: str) -> UploadStatus:
        with read_scope(self.engine) as session:
            upload = uploads.get(session, upload_id)
            if upload.state is UploadState.RECEIVING and upload.size is None:
                # It comes in one piece, and is nowhere before it is whole.
                raise UploadNotFound
            if uploads.is_expired(session, upload, self.life):
                raise UploadExpired
            return self._view(upload)

    def _view(self, upload: Upload) -> UploadStatus:
        length = upload.size or 0
        if upload.state is UploadState.COMPLETE:
            return UploadStatus(upload.id, length, length, None)
        return UploadStatus(upload.id, upload.received, length, (upload.active_at or upload.created_at) + self.life)

    def _store(self, upload_id: str, first: bytes, rest: "_Blocks", digest: "hashlib._Hash | None") -> tuple[str, int]:
        """The key of a part, and its bytes."""
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

    def _keep(self, upload_id: str, offset: int, held: list[tuple[str, int]]) -> None:
        with session_scope(self.engine) as session:
            for key, size in held:
                uploads.add_part(session, upload_id, start=offset, size=size, key=key)
                offset += size
        held.clear()

    def _drop(self, held: list[tuple[str, int]]) -> None:
        for key, _ in held:
            self.storage.delete(key)

    def _finish(self, upload_id: str) -> None:
        """Makes one object of the parts. Two who do it at once make the same."""
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
                if self._standing(upload_id).expires_at is None:
                    return
                raise
            with session_scope(self.engine) as session:
                uploads.complete(session, upload_id, size=stored.size, sha256=stored.sha256)
            for part in parts:
                self.storage.delete(part.key)
        finally:
            _finishing.discard(upload_id)


class _Blocks:
    """A body in blocks of about a mebibyte, to its end or to where its client went away; TooLarge beyond `most`."""

    def __init__(self, body: AsyncIterator[bytes], most: int) -> None:
        self._body = body
        self._left = most
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
                raise TooLarge("The body is longer than what is missing of this upload.")
            block += chunk
        return bytes(block) or None
