"""An S3-compatible server on a free loopback port."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import boto3
import httpx2

from tests.support.http_server import HttpServerProcess
from ttm_jobs.database.ids import new_id
from ttm_jobs.storage.s3_access import S3Access

ROOT = Path(__file__).parents[2]


class S3Server(HttpServerProcess):
    """Runs moto's server."""

    name = "the S3 server"
    module = "moto.server"

    def __init__(self) -> None:
        super().__init__()
        self.access = S3Access(self.url, "us-east-1", "an-access-key", "a-secret-of-the-access-key")

    def command(self) -> Sequence[str]:
        return sys.executable, "-m", self.module, "-H", "127.0.0.1", "-p", str(self.port)

    def folder(self) -> Path:
        return ROOT

    def check(self) -> None:
        httpx2.get(f"{self.url}/moto-api/data.json", timeout=5).raise_for_status()

    def settings(self, prefix: str = "") -> dict[str, str]:
        """Settings of a service that stores its objects in a new bucket on this server."""
        return {
            "storage_url": f"s3://{self.new_bucket()}{prefix}",
            "s3_endpoint": self.url,
            "s3_region": str(self.access.region),
            "s3_access_key_id": str(self.access.access_key_id),
            "s3_secret_access_key": str(self.access.secret_access_key),
        }

    def new_bucket(self) -> str:
        name = f"bucket-{new_id()}"
        self._client().create_bucket(Bucket=name)
        return name

    def put(self, bucket: str, key: str, content: bytes) -> None:
        self._client().put_object(Bucket=bucket, Key=key, Body=content)

    def set_lifecycle(self, bucket: str, rules: Mapping[str, object]) -> None:
        """Sets the lifecycle rules of a bucket. Raises ClientError if the server does not accept them."""
        self._client().put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration=rules)

    def open_uploads(self, bucket: str) -> list[str]:
        """The keys of multipart uploads that are not completed."""
        response = self._client().list_multipart_uploads(Bucket=bucket)
        return [upload["Key"] for upload in response.get("Uploads", [])]

    def _client(self):  # type: ignore[no-untyped-def]
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=self.access.access_key_id,
            aws_secret_access_key=self.access.secret_access_key,
        )
