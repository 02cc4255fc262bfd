"""Addresses of data and teachers that specs may name, and access to buckets in S3."""

import json
import os
from pathlib import Path
from typing import Annotated

from pydantic import (
    Field,
    PositiveFloat,
    PositiveInt,
    field_validator,
)
from pydantic_settings import NoDecode

from ttm_jobs.settings.base import Names, SettingsGroup
from ttm_jobs.storage.s3_access import S3Access
from ttm_jobs.uris import parse_origin


class Sources(SettingsGroup):
    """Which addresses a spec may name, and limits on downloads."""

    data_roots: Annotated[tuple[Path, ...], NoDecode] = Field(
        default=(),
        description="Folders that file:// URIs may refer to, separated like PATH. Empty: file:// URIs are rejected.",
    )
    allowed_origins: Names = Field(
        default=(),
        description=(
            "Hosts for https:// URIs, separated by commas: https://HOST, with :PORT unless it is 443, or the "
            "same with http. Redirects must stay among them. Empty: such URIs are rejected."
        ),
    )
    private_hosts: Names = Field(
        default=(),
        description=(
            "Hosts of `allowed_origins`, and webhook receivers, that may have a private or loopback address: "
            "HOST:PORT, separated by commas."
        ),
    )
    allowed_buckets: Names = Field(
        default=(),
        description=(
            "Buckets for s3://, gs:// and az:// URIs, separated by commas: BUCKET in S3, gs://BUCKET or "
            "az://CONTAINER. Empty: such URIs are rejected."
        ),
    )
    fetch_max_bytes: PositiveInt = Field(
        default=200 * 1024**3, description="Maximum size of a downloaded file or folder."
    )
    fetch_timeout_seconds: PositiveFloat = Field(default=6 * 3600.0, description="Maximum duration of one download.")

    # S3, for storage and inputs
    s3_endpoint: str | None = Field(
        default=None,
        description="Endpoint of an S3-compatible store, for example http://minio:9000. Default: Amazon S3.",
    )
    s3_public_endpoint: str | None = Field(
        default=None,
        pattern=r"^https?://",
        description="Endpoint of the same store for clients, if it differs.",
    )
    s3_region: str | None = Field(default=None, description="Region of the buckets.")
    s3_access_key_id: str | None = Field(
        default=None, repr=False, description="Access key. Default: the AWS_* variables or the machine's role."
    )
    s3_secret_access_key: str | None = Field(default=None, repr=False, description="Secret of the access key.")

    @field_validator("data_roots", mode="before")
    @classmethod
    def _split_roots(cls, value: object) -> object:
        if isinstance(value, str):
            return json.loads(value) if value.startswith("[") else [part for part in value.split(os.pathsep) if part]
        return value

    @field_validator("allowed_origins")
    @classmethod
    def _known_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(parse_origin, value))

    @property
    def s3(self) -> S3Access:
        """How S3 is reached."""
        return S3Access(
            self.s3_endpoint,
            self.s3_region,
            self.s3_access_key_id,
            self.s3_secret_access_key,
            self.s3_public_endpoint,
        )
