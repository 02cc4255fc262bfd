"""The one place where a storage backend is registered."""

from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from ttm_jobs.storage.base import Storage
from ttm_jobs.storage.local import LocalStorage


def build_storage(url: str) -> Storage:
    """The backend of a `storage_url`; ValueError for an unknown one."""
    parts = urlsplit(url)
    match parts.scheme:
        case "file":
            return LocalStorage(Path(url2pathname(parts.path)))
        case other:
            raise ValueError(f"no storage backend is called {other!r}")
