"""The one place where a storage backend is registered."""

from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from ttm_jobs.storage.base import Storage
from ttm_jobs.storage.local import LocalStorage
from ttm_jobs.storage.s3 import S3Storage, connect
from ttm_jobs.storage.s3_access import S3Access


def build_storage(url: str, access: S3Access | None = None) -> Storage:
    """The backend of a `storage_url`, with how S3 is reached; ValueError for an unknown one."""
    parts = urlsplit(url)
    match parts.scheme:
        case "file":
            return LocalStorage(Path(url2pathname(parts.path)))
        case "s3":
            access = access or S3Access()
            bucket, prefix = parts.netloc, parts.path.strip("/") or None
            if access.public_endpoint is None:
                return S3Storage(connect(access, bucket, prefix))
            public = connect(replace(access, endpoint=access.public_endpoint), bucket, prefix)
            return S3Storage(connect(access, bucket, prefix), public)
        case other:
            raise ValueError(f"no storage backend is called {other!r}")
