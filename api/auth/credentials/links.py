"""Signed links: a path, its project and an expiry time, signed with a secret of the service. They need no key."""

import hmac
import time
from hashlib import sha256
from urllib.parse import parse_qsl, urlencode

# The name of the signing secret in the table of server secrets.
SECRET = "links"


def sign(secret: bytes, path: str, project_id: str, *, expires: int) -> str:
    """The path with query parameters that authorize it until `expires`, in seconds since 1970."""
    signature = _signature(secret, path, project_id, expires)
    return f"{path}?{urlencode({'project': project_id, 'expires': expires, 'signature': signature})}"


def is_signed(query: bytes) -> bool:
    """Whether a query has a signature. It may be invalid."""
    return b"signature=" in query


def project_of_link(secret: bytes, path: str, query: bytes) -> str | None:
    """The project of a link. None if the signature is invalid or the link has expired."""
    try:
        fields = dict(parse_qsl(query.decode("ascii"), strict_parsing=True, max_num_fields=8))
        project_id, expires, signature = fields["project"], int(fields["expires"]), fields["signature"]
    except (ValueError, KeyError):
        return None
    valid = hmac.compare_digest(_signature(secret, path, project_id, expires).encode(), signature.encode())
    return project_id if valid and time.time() < expires else None


def _signature(secret: bytes, path: str, project_id: str, expires: int) -> str:
    # Newline is a safe separator: no part can contain one.
    return hmac.new(secret, f"{path}\n{project_id}\n{expires}".encode(), sha256).hexdigest()
