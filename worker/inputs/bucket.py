"""Downloads s3://, gs:// and az:// URIs: one object, or all objects under a prefix as a directory."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import obstore

from ttm_jobs.errors import ObjectNotFound, SourceRefused, StorageForbidden, TooLarge
from ttm_jobs.storage.bucket import bucket_errors, read_range
from ttm_jobs.storage.connect import connect
from ttm_jobs.storage.s3_access import S3Access
from ttm_jobs.uris import BucketUri
from worker.inputs.names import check_name
from worker.inputs.parallel import run_all

if TYPE_CHECKING:  # only in the type stubs
    from obstore import ObjectMeta

_MAX_OBJECTS = 5_000_000


@dataclass(frozen=True)
class _Object:
    key: str
    size: int
    tag: str


class BucketFetcher:
    """Downloads the content that a URI had when the fetcher was created.

    Raises:
        SourceRefused: no object exists, the worker may not read it, or a key is not a valid file name.
        TooLarge: the objects exceed `max_bytes`.
        StorageUnreachable: the storage failed temporarily.
    """

    def __init__(
        self, uri: BucketUri, access: S3Access, *, max_bytes: int, check: Callable[[], None] = lambda: None
    ) -> None:
        self._uri = uri
        self._store = connect(uri.scheme, uri.bucket, access=access)
        self._check = check
        try:
            self._objects = self._listed() if uri.is_prefix else [self._head()]
        except StorageForbidden as error:
            raise SourceRefused(
                f"The worker may not read {uri.root}. Grant its credentials read access, or upload the data instead."
            ) from error
        if sum(entry.size for entry in self._objects) > max_bytes:
            raise TooLarge(f"The objects exceed the limit of {max_bytes:,} bytes.")

    @property
    def name(self) -> str:
        """Directory name that identifies this content."""
        parts = [self._uri.root, self._uri.key, *(f"{entry.key} {entry.size} {entry.tag}" for entry in self._objects)]
        return f"bucket-{hashlib.sha256(chr(10).join(parts).encode()).hexdigest()}"

    def fetch(self, path: Path) -> None:
        """Write the object to `path`, or the objects of a prefix below it. Errors of `check` pass through."""
        if not self._uri.is_prefix:
            self._write(self._objects[0], path)
            return
        tasks = (partial(self._write, entry, path / entry.key.removeprefix(self._uri.key)) for entry in self._objects)
        run_all(tasks, name="bucket-fetch")

    def _write(self, found: _Object, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as out:
            if found.size:
                for chunk in read_range(self._store, found.key, 0, found.size, found.tag):
                    self._check()
                    out.write(chunk)

    def _head(self) -> _Object:
        try:
            with bucket_errors():
                meta = obstore.head(self._store, self._uri.key)
        except ObjectNotFound as error:
            raise SourceRefused("The object does not exist. The URI of a directory ends with a slash.") from error
        return _Object(self._uri.key, meta["size"], _tag(meta))

    def _listed(self) -> list[_Object]:
        found = []
        with bucket_errors():
            for page in obstore.list(self._store, self._uri.key or None):
                self._check()
                for meta in page:
                    # The listing matches whole path segments and contains the placeholder objects of directories.
                    key = meta["path"]
                    if key.startswith(self._uri.key) and key != self._uri.key and not key.endswith("/"):
                        check_name(key)
                        found.append(_Object(key, meta["size"], _tag(meta)))
                if len(found) > _MAX_OBJECTS:
                    raise TooLarge(f"The prefix contains more than {_MAX_OBJECTS:,} objects.")
        if not found:
            raise SourceRefused("The prefix contains no objects.")
        return sorted(found, key=lambda one: one.key)


def _tag(meta: "ObjectMeta") -> str:
    """The ETag in quotes, which listings of Azure omit and conditional requests need."""
    tag = (meta["e_tag"] or "").strip('"')
    return f'"{tag}"' if tag else ""
