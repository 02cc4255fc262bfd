"""Links that work without a key: a path, its project and a time, signed with a secret of the service."""

import hmac
import time
from hashlib import sha256
from urllib.parse import parse_qsl, urlencode

# Its name among the service's secrets.
SECRET = "links"


def sign(secret: bytes, path: str, project_id: str, *, expires: int) -> str:
    """The path with what makes it work until `expires`, in seconds since 1970."""
    signature = _signature(secret, path, project_id, expires)
    return f"{path}?{urlencode({'project': project_id, 'expires': expires, 'signature': signature})}"


def is_signed(query: bytes) -> bool:
    """Whether a query has a signature at all."""
    return b"signature=" in query


def project_of_link(secret: bytes, path: str, query: bytes) -> str | None:
    """The project of a link whose signature is right and whose time has not passed."""
    try:
        fields = dict(parse_qsl(query.decode("ascii"), strict_parsing=True, max_num_fields=8))
        project_id, expires, given = fields["project"], int(fields["expires"]), fields["signature"]
    except (ValueError, KeyError):
        return None
    right = hmac.compare_digest(_signature(secret, path, project_id, expires).encode(), given.encode())
    return project_id if right and time.time() < expires else None


def _signature(secret: bytes, path: str, project_id: str, expires: int) -> str:
    # Newlines part what is signed: none of it can hold one.
    return hmac.new(secret, f"{path}\n{project_id}\n{expires}".encode(), sha256).hexdigest()
