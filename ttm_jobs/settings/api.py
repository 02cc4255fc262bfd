"""The API: addresses, proxies, limits."""

from typing import Annotated

from pydantic import BeforeValidator, Field, PositiveFloat, PositiveInt

from ttm_jobs.settings.base import Names, SettingsGroup, none_as_null


class Api(SettingsGroup):
    """How the API listens, and limits on requests."""

    host: str = Field(default="127.0.0.1", description="Address on which the API listens.")
    port: int = Field(
        default=8000, ge=0, le=65_535, description="Port on which the API listens; 0 selects a free port."
    )
    open_on_loopback: bool = Field(
        default=True,
        description=(
            "On a loopback address, allow requests without an API key until the first key is created. Afterwards a "
            "key is required, also if all keys have expired. Other addresses always require a key."
        ),
    )
    trusted_proxies: Names = Field(
        default=(),
        description=(
            "IP addresses of reverse proxies whose X-Forwarded-For and X-Forwarded-Proto headers are used, separated "
            "by commas. Empty: requests with forwarding headers always require an API key."
        ),
    )
    allowed_hosts: Names = Field(
        default=(),
        description=(
            "Allowed values of the Host header, separated by commas. Empty: loopback names on a loopback "
            "address, any name elsewhere."
        ),
    )
    public_url: str | None = Field(
        default=None,
        pattern=r"^https?://[^/?#\s]+$",
        description=(
            "Address at which browsers reach the dashboard: https://ttm.example.com. The identity provider redirects "
            "to it. Default: the address of the request."
        ),
    )
    direct_downloads: bool = Field(
        default=False,
        description=(
            "With storage in a bucket, redirect (307) downloads of artifacts to presigned URLs instead of sending the "
            "bytes. Clients must be able to reach the store."
        ),
    )
    requests_per_second: Annotated[PositiveFloat | None, BeforeValidator(none_as_null)] = Field(
        default=100.0,
        description="Rate limit of each API process per API key, and per address for requests without a valid key. "
        "Bursts of ten seconds are allowed. `none`: no limit.",
    )
    failed_sign_ins_per_minute: Annotated[PositiveInt | None, BeforeValidator(none_as_null)] = Field(
        default=10,
        description="Invalid API keys and refused sign-ins per minute that an address may send. Until the minute ends, "
        "the API then answers its sign-ins and its unknown keys with 429; keys that worked before still work. All API "
        "processes count together. `none`: no limit.",
    )
    max_body_bytes: PositiveInt = Field(
        default=1024**2, description="Maximum size of a request body in bytes, except uploads and images."
    )
    max_image_bytes: PositiveInt = Field(
        default=10 * 1024**2,
        description="Maximum size in bytes of an image sent to `POST /jobs/{id}/predict`. It may have 25 megapixels.",
    )
    body_timeout_seconds: PositiveFloat = Field(
        default=30.0,
        description="A request body that needs longer than this for 64 KiB is refused with 408. Resumable uploads keep "
        "the bytes that arrived.",
    )
    max_upload_bytes: PositiveInt = Field(default=64 * 1024**3, description="Maximum size of an upload in bytes.")
