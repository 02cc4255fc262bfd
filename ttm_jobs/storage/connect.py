"""Opens buckets of Amazon S3, Google Cloud Storage and Azure Blob Storage."""

import os
from datetime import timedelta
from typing import TYPE_CHECKING, assert_never

from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, S3Store

from ttm_jobs.errors import StorageUnreachable
from ttm_jobs.storage.s3_access import S3Access
from ttm_jobs.uris import BucketScheme

if TYPE_CHECKING:  # only in the type stubs
    from obstore.store import ClientConfig, RetryConfig, S3Config

BucketStore = S3Store | GCSStore | AzureStore

# What configures access, for messages.
_VARIABLES: dict[BucketScheme, str] = {
    "s3": "TTM_S3_* or AWS_*",
    "gs": "GOOGLE_*",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and other AZURE_*",
}
_RETRIES: "RetryConfig" = {"max_retries": 5, "retry_timeout": timedelta(minutes=2)}


def connect(
    scheme: BucketScheme, bucket: str, prefix: str | None = None, access: S3Access | None = None
) -> BucketStore:
    """Opens a bucket without a request.

    Google Cloud Storage and Azure are configured by the variables that obstore reads: `GOOGLE_*`, with the machine's
    role as the default, and `AZURE_*`, of which `AZURE_STORAGE_ACCOUNT_NAME` is required.

    Args:
        scheme: the provider.
        bucket: name of the bucket or, at Azure, of the container.
        prefix: path under which all keys are.
        access: endpoint and credentials of S3.

    Raises:
        StorageUnreachable: the credentials in the environment are incomplete or cannot be read.
    """
    try:
        match scheme:
            case "s3":
                return _s3(access or S3Access(), bucket, prefix)
            case "gs":
                options = _client_options(os.environ.get("GOOGLE_BASE_URL"))
                return GCSStore(bucket, prefix=prefix, client_options=options, retry_config=_RETRIES)
            case "az":
                options = _client_options(os.environ.get("AZURE_STORAGE_ENDPOINT"))
                return AzureStore(bucket, prefix=prefix, client_options=options, retry_config=_RETRIES)
            case _:
                assert_never(scheme)
    except BaseError as error:
        # The message may contain a credential.
        raise StorageUnreachable(
            f"The bucket {scheme}://{bucket} cannot be opened. Set {_VARIABLES[scheme]} for this process."
        ) from error


def _s3(access: S3Access, bucket: str, prefix: str | None) -> S3Store:
    config: S3Config = {}
    if access.endpoint is not None:
        config["endpoint"] = access.endpoint
    if access.region is not None:
        config["region"] = access.region
    if access.access_key_id is not None and access.secret_access_key is not None:
        config["access_key_id"] = access.access_key_id
        config["secret_access_key"] = access.secret_access_key
    options = _client_options(access.endpoint)
    return S3Store(bucket, prefix=prefix, config=config, client_options=options, retry_config=_RETRIES)


def _client_options(endpoint: str | None) -> "ClientConfig":
    """`endpoint` is the configured one; without TLS it must be allowed explicitly."""
    return {
        "allow_http": endpoint is not None and endpoint.startswith("http://"),
        "connect_timeout": timedelta(seconds=5),
        "timeout": timedelta(minutes=5),
    }
