"""How an object store is reached."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class S3Access:
    """How S3 is reached; what is None is taken from the AWS_* variables or the machine's role."""

    endpoint: str | None = None
    region: str | None = None
    access_key_id: str | None = field(default=None, repr=False)
    secret_access_key: str | None = field(default=None, repr=False)
    # As clients reach it, where that is another address than ours.
    public_endpoint: str | None = None
