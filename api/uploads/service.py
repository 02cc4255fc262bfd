"""Uploads in one request: streamed from the socket to storage with constant memory, all or nothing."""

from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass

from anyio import CancelScope, CapacityLimiter, from_thread, to_thread
from sqlalchemy import Engine
from sqlalchemy.orm import Session
from starlette.datastructures import Headers

from api.http.pagination import cut_page, decode_cursor, decode_time_cursor, encode_time_cursor
from api.uploads.headers import expected_sha256, file_name
from api.uploads.schemas import UploadOut, UploadPage
from ttm_jobs.database.engine import session_scope
from ttm_jobs.errors import ChecksumMismatch, Invalid, ServiceError, TooLarge, UploadNotFound
from ttm_jobs.models import Upload, UploadState
from ttm_jobs.repositories import uploads
from ttm_jobs.storage import Storage, Stored

BLOCK = 1 << 20
_CURSOR = "uploads"


class EmptyUpload(Invalid):
    """The file is empty."""

    code = "empty_upload"


@dataclass(frozen=True)
class Receiver:
    """Receives uploads of at most `limit` bytes. An upload in progress uses one of `threads` and no database
    connection.
    """

    engine: Engine
    storage: Storage
    limit: int
    threads: CapacityLimiter

    async def receive(self, headers: Headers, filename: str | None, body: AsyncIterator[bytes]) -> UploadOut:
        """Stores the body and returns the upload once it is durable. After an error or a disconnect, nothing is stored.

        Raises TooLarge, EmptyUpload, ChecksumMismatch, StorageFull, InvalidRequest and QuotaExceeded.
        """
        announced = headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > self.limit:
            raise self._too_large()
        expected = expected_sha256(headers)
        blocks = self._blocks(body)
        # Read before the row is created, so that an empty body creates none.
        first = await anext(blocks, None)
        if first is None:
            raise EmptyUpload
        upload = await to_thread.run_sync(self._begin, file_name(headers, filename))
        try:
            stored = await to_thread.run_sync(self._store, upload.key, first, blocks, limiter=self.threads)
            if expected is not None and stored.sha256 != expected:
                raise ChecksumMismatch(f"The received bytes have the SHA-256 {stored.sha256}, not the expected one.")
            return await to_thread.run_sync(self._complete, upload.id, stored)
        except BaseException:
            with CancelScope(shield=True):
                await to_thread.run_sync(self._delete, upload)
            raise

    async def _blocks(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        # A socket returns about 64 KiB at a time. Larger blocks need fewer switches to the writing thread.
        block = bytearray()
        received = 0
        async for chunk in chunks:
            received += len(chunk)
            if received > self.limit:
                raise self._too_large()
            block += chunk
            if len(block) >= BLOCK:
                yield bytes(block)
                block.clear()
        if block:
            yield bytes(block)

    def _store(self, key: str, first: bytes, rest: AsyncIterator[bytes]) -> Stored:
        async def following() -> bytes | None:
            return await anext(rest, None)

        def source() -> Iterator[bytes]:
            yield first
            # The event loop reads the next block while this thread waits.
            while (block := from_thread.run(following)) is not None:
                yield block

        return self.storage.put(key, source())

    def _begin(self, filename: str | None) -> Upload:
        with session_scope(self.engine) as session:
            return uploads.create(session, filename=filename, media_type="application/octet-stream")

    def _complete(self, upload_id: str, stored: Stored) -> UploadOut:
        with session_scope(self.engine) as session:
            return _view(uploads.complete(session, upload_id, size=stored.size, sha256=stored.sha256))

    def _delete(self, upload: Upload) -> None:
        self.storage.delete(upload.key)
        with session_scope(self.engine) as session:
            uploads.remove(session, upload.id)

    def _too_large(self) -> TooLarge:
        return TooLarge(f"The upload is larger than the limit of {self.limit} bytes.")


def get(session: Session, upload_id: str) -> UploadOut:
    """An upload with all its bytes. Raises UploadNotFound."""
    upload = uploads.get(session, upload_id)
    if upload.state is UploadState.RECEIVING:
        raise UploadNotFound
    return _view(upload)


def page(session: Session, *, limit: int, cursor: str | None) -> UploadPage:
    """A page of the complete uploads, newest first."""
    before = None if cursor is None else decode_cursor(_CURSOR, cursor, decode_time_cursor)
    found = uploads.page(session, limit=limit + 1, before=before)
    rows, following = cut_page(_CURSOR, found, limit, lambda row: encode_time_cursor(row.created_at, row.id))
    return UploadPage(items=[_view(row) for row in rows], next_cursor=following, has_more=following is not None)


def remove(engine: Engine, storage: Storage, upload_id: str) -> None:
    """Deletes an upload. Bytes that cannot be deleted now are garbage-collected later. Raises UploadNotFound."""
    with session_scope(engine) as session:
        upload = uploads.get(session, upload_id)
        keys = uploads.object_keys(session, upload)
        uploads.remove(session, upload_id)
    with suppress(ServiceError, OSError):
        for key in keys:
            storage.delete(key)


def _view(upload: Upload) -> UploadOut:
    assert upload.size is not None
    assert upload.state is not UploadState.RECEIVING
    return UploadOut(
        id=upload.id,
        uri=f"upload:{upload.id}",
        state="complete" if upload.state is UploadState.COMPLETE else "finalizing",
        filename=upload.filename,
        size=upload.size,
        sha256=upload.sha256,
        created_at=upload.created_at,
    )
