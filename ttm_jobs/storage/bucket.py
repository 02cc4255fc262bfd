"""Objects in a bucket: Amazon S3 or a compatible store, Google Cloud Storage, Azure Blob Storage."""

import hashlib
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from itertools import chain
from queue import Full, Queue
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Self

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, PreconditionError, UnauthenticatedError

from ttm_jobs.errors import ObjectNotFound, StorageForbidden, StorageUnreachable
from ttm_jobs.storage.base import CHUNK, Label, Stored, check_key, chunks_of
from ttm_jobs.storage.connect import BucketStore

if TYPE_CHECKING:  # only in the type stubs
    from obstore import Attributes, GetOptions, GetResult

# Part size of multipart uploads. Smaller objects are uploaded in one request.
_PART_BYTES = 8 * CHUNK
_LINK_LIFETIME = timedelta(minutes=15)
_MAX_RESUMES = 5
_FORBIDDEN = re.compile(r"status code: 40[13]\b")


class BucketStorage:
    """Keys are object names after the prefix. A multipart upload becomes an object once it is complete."""

    def __init__(self, store: BucketStore, public: BucketStore | None = None) -> None:
        """`public` is the same store under the endpoint that clients reach."""
        self._store = store
        self._public = public or store

    def put(self, key: str, source: BinaryIO | Iterable[bytes], label: Label | None = None) -> Stored:
        check_key(key)
        chunks = _Measured(chunks_of(source))
        beginning: list[bytes] = []
        while chunks.size <= _PART_BYTES:
            if (chunk := next(chunks, None)) is None:
                # One request instead of three, and no orphaned parts.
                content = b"".join(beginning)
                with bucket_errors():
                    obstore.put(self._store, key, content, attributes=_attributes(label), use_multipart=False)
                return chunks.stored()
            beginning.append(chunk)
        with _Sender(self._store, key, label) as sender:
            for chunk in chain(beginning, chunks):
                sender.send(chunk)
        return chunks.stored()

    def open(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        size = self.size(key)
        stop = size if end is None else min(end, size)
        return read_range(self._store, key, start, stop) if start < stop else iter(())

    def size(self, key: str) -> int:
        with bucket_errors():
            return int(obstore.head(self._store, check_key(key))["size"])

    def url(self, key: str) -> str | None:
        with bucket_errors():
            return obstore.sign(self._public, "GET", check_key(key), expires_in=_LINK_LIFETIME)

    def delete(self, key: str) -> None:
        # Azure alone reports a missing object.
        with bucket_errors(), suppress(FileNotFoundError):
            obstore.delete(self._store, check_key(key))

    def list(self, prefix: str = "") -> Iterator[str]:
        if prefix:
            check_key(prefix)
        with bucket_errors():
            keys = [meta["path"] for page in obstore.list(self._store, prefix or None) for meta in page]
        yield from sorted(keys)

    def sweep(self, older_than: timedelta) -> int:
        """Does nothing: parts of aborted uploads are not objects. In S3 and Google Cloud Storage, a lifecycle rule
        (AbortIncompleteMultipartUpload) deletes them; Azure deletes them after a week.
        """
        return 0

    def check(self) -> None:
        with bucket_errors():
            next(iter(obstore.list(self._store)), None)


class _Measured:
    """Passes chunks on and computes their size and hash."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._digest = hashlib.sha256()
        self.size = 0

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        chunk = next(self._chunks)
        self._digest.update(chunk)
        self.size += len(chunk)
        return chunk

    def stored(self) -> Stored:
        return Stored(self.size, self._digest.hexdigest())


class _Sender:
    """A streaming upload in a separate thread.

    obstore reads from an iterator inside its event loop, where a source that itself reads from a store would fail.
    """

    def __init__(self, store: BucketStore, key: str, label: Label | None) -> None:
        self._chunks: Queue[bytes | BaseException | None] = Queue(maxsize=4)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="bucket-put")
        self._done = self._pool.submit(
            obstore.put,
            store,
            key,
            self._received(),
            attributes=_attributes(label),
            chunk_size=_PART_BYTES,
            max_concurrency=2,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Completes the upload, or aborts it if the source failed."""
        self.send(error)
        self._pool.shutdown()
        if error is None:
            with bucket_errors():
                self._done.result()

    def send(self, item: bytes | BaseException | None) -> None:
        """Sends bytes, the source's error, or None at the end."""
        while not self._done.done():
            with suppress(Full):
                self._chunks.put(item, timeout=0.5)
                return
        with bucket_errors():
            self._done.result()

    def _received(self) -> Iterator[bytes]:
        while (item := self._chunks.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item


def _attributes(label: Label | None) -> "Attributes | None":
    if label is None:
        return None
    return {"Content-Type": label.media_type, "Content-Disposition": f'attachment; filename="{label.filename}"'}


def read_range(store: BucketStore, key: str, start: int, stop: int, tag: str | None = None) -> Iterator[bytes]:
    """Yields the bytes [start, stop) and resumes after lost connections, for the same ETag.

    Raises ObjectNotFound immediately, StorageUnreachable later.
    """
    result = _get(store, key, start, stop, tag)
    return _resumed(store, key, result, start, stop)


def _get(store: BucketStore, key: str, start: int, stop: int, tag: str | None) -> "GetResult":
    options: GetOptions = {"range": (start, stop)}
    if tag is not None:
        options["if_match"] = tag
    with bucket_errors():
        return obstore.get(store, key, options=options)


def _resumed(store: BucketStore, key: str, result: "GetResult", start: int, stop: int) -> Iterator[bytes]:
    tag = result.meta["e_tag"]
    for attempt in range(_MAX_RESUMES + 1):
        try:
            for chunk in result.stream(min_chunk_size=CHUNK):
                start += len(chunk)
                yield bytes(chunk)
            if start >= stop:
                return
        except (BaseError, OSError) as error:
            if attempt == _MAX_RESUMES:
                raise StorageUnreachable(f"The connection to the object store was lost {attempt + 1} times.") from error
        result = _get(store, key, start, stop, tag)
    raise StorageUnreachable("The object store sent fewer bytes than the object has.")


@contextmanager
def bucket_errors() -> Iterator[None]:
    """Translates errors of obstore."""
    try:
        yield
    except FileNotFoundError as error:
        raise ObjectNotFound("There is no such object.") from error
    except (PermissionDeniedError, UnauthenticatedError) as error:
        raise StorageForbidden from error
    except PreconditionError as error:
        raise StorageUnreachable("The object was replaced while it was read.") from error
    except BaseError as error:
        # Errors of listings have no class of their own.
        if _FORBIDDEN.search(str(error)):
            raise StorageForbidden from error
        # The message contains the whole request and possibly a signed URL.
        raise StorageUnreachable(f"The object store cannot be used: {type(error).__name__}.") from error
