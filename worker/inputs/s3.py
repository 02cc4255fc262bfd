"""Fetches s3:// addresses: an object, or all objects under a prefix as a folder."""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import obstore
from obstore.store import S3Store

from ttm_jobs.errors import ObjectNotFound, SourceRefused, TooLarge
from ttm_jobs.storage.s3 import connect, read_range, s3_errors
from ttm_jobs.storage.s3_access import S3Access
from ttm_jobs.uris import S3Uri

# Small objects take a round trip each, so that one after another would be slow.
_AT_ONCE = 8
_MAX_OBJECTS = 5_000_000


@dataclass(frozen=True)
class _Object:
    key: str
    size: int
    tag: str


class S3Fetcher:
    """One address, as it is now."""

    def __init__(
        self, uri: S3Uri, access: S3Access, *, max_bytes: int, go_on: Callable[[], None] = lambda: None
    ) -> None:
        """Asks for the objects' heads. SourceRefused if there are none or a key is no file name, TooLarge, and what
        storage raises."""
        self._uri = uri
        self._store: S3Store = connect(access, uri.bucket)
        self._go_on = go_on
        self._objects = self._listed() if uri.is_prefix else [self._head()]
        if sum(found.size for found in self._objects) > max_bytes:
            raise TooLarge(f"At the address is more than the {max_bytes:,} bytes that may be fetched.")

    @property
    def name(self) -> str:
        """Of this content: another content has another name."""
        told = [self._uri.bucket, self._uri.key, *(f"{found.key} {found.size} {found.tag}" for found in self._objects)]
        return f"s3-{hashlib.sha256(chr(10).join(told).encode()).hexdigest()}"

    def fetch(self, path: Path) -> None:
        """Write the object to `path`, or the objects into it. StorageUnreachable, and what `go_on` raises."""
        if not self._uri.is_prefix:
            self._write(self._objects[0], path)
            return
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="s3-fetch") as pool:
            written = [
                pool.submit(self._write, found, path / found.key.removeprefix(self._uri.key)) for found in self._objects
            ]
            try:
                for future in written:
                    future.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def _write(self, found: _Object, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as out:
            if found.size:
                for chunk in read_range(self._store, found.key, 0, found.size, found.tag):
                    self._go_on()
                    out.write(chunk)

    def _head(self) -> _Object:
        try:
            with s3_errors():
                told = obstore.head(self._store, self._uri.key)
        except ObjectNotFound as error:
            raise SourceRefused("There is no such object; a folder's address ends with a slash.") from error
        return _Object(self._uri.key, told["size"], told["e_tag"] or "")

    def _listed(self) -> list[_Object]:
        found = []
        with s3_errors():
            for page in obstore.list(self._store, self._uri.key or None):
                self._go_on()
                for told in page:
                    # The library lists by whole parts, and tells of a folder's own mark as of an object.
                    key = told["path"]
                    if key.startswith(self._uri.key) and key != self._uri.key and not key.endswith("/"):
                        _check_name(key)
                        found.append(_Object(key, told["size"], told["e_tag"] or ""))
                if len(found) > _MAX_OBJECTS:
                    raise TooLarge(f"At the address are more than {_MAX_OBJECTS:,} objects.")
        if not found:
            raise SourceRefused("There is nothing under this address.")
        return sorted(found, key=lambda one: one.key)


def _check_name(key: str) -> None:
    path = PurePosixPath(key)
    unsafe = path.is_absolute() or ".." in path.parts or "\\" in key or not key.isprintable()
    if unsafe or any(len(part.encode()) > 255 for part in path.parts):
        raise SourceRefused(f"An object's name is no file's: {key!r}.")
