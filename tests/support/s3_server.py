"""An S3-compatible server on a free loopback port."""

import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import boto3
import httpx2

from ttm_jobs.broker.embedded import free_port
from ttm_jobs.database.ids import new_id
from ttm_jobs.processes import die_with_parent
from ttm_jobs.storage.s3_access import S3Access

ROOT = Path(__file__).parents[2]


class S3Server:
    """Runs moto's server as a process."""

    module = "moto.server"

    def __init__(self) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        self.access = S3Access(self.url, "us-east-1", "an-access-key", "a-secret-of-the-access-key")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", self.module, "-H", "127.0.0.1", "-p", self.url.rpartition(":")[2]],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=die_with_parent,
        )
        deadline = time.monotonic() + 60
        while True:
            assert self._process.poll() is None, "the S3 server exited"
            try:
                httpx2.get(f"{self.url}/moto-api/data.json", timeout=5).raise_for_status()
                return self
            except httpx2.HTTPError:
                assert time.monotonic() < deadline, "the S3 server did not start in time"
                time.sleep(0.05)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

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
