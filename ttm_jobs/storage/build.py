"""The one place where a storage backend is registered."""

from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from ttm_jobs.storage.base import Storage
from ttm_jobs.storage.bucket import BucketStorage
from ttm_jobs.storage.connect import connect
from ttm_jobs.storage.local import LocalStorage
from ttm_jobs.storage.s3_access import S3Access


def build_storage(url: str, access: S3Access | None = None) -> Storage:
    """Returns the backend of a `storage_url`. `access` applies to S3. Raises ValueError for an unknown scheme."""
    parts = urlsplit(url)
    bucket, prefix = parts.netloc, parts.path.strip("/") or None
    match parts.scheme:
        case "file":
            return LocalStorage(Path(url2pathname(parts.path)))
        case "s3":
            access = access or S3Access()
            if access.public_endpoint is None:
                return BucketStorage(connect("s3", bucket, prefix, access))
            public = connect("s3", bucket, prefix, replace(access, endpoint=access.public_endpoint))
            return BucketStorage(connect("s3", bucket, prefix, access), public)
        case "gs" | "az" as scheme:
            return BucketStorage(connect(scheme, bucket, prefix))
        case other:
            raise ValueError(f"no storage backend is called {other!r}")
