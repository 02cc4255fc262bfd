"""Access to S3."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class S3Access:
    """Endpoint and credentials of S3. None falls back to the AWS_* variables or the machine's role."""

    endpoint: str | None = None
    region: str | None = None
    access_key_id: str | None = field(default=None, repr=False)
    secret_access_key: str | None = field(default=None, repr=False)
    # The endpoint that clients use, if different.
    public_endpoint: str | None = None
