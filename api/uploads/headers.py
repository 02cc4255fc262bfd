"""File name and checksum from the headers of an upload."""

import base64
import binascii
import re
from email.message import Message

from starlette.datastructures import Headers

from api.http.errors import InvalidRequest

_HEX = re.compile(r"[0-9a-f]{64}")
_DIGEST = re.compile(r"sha-256=:([A-Za-z0-9+/=]{44}):")
_MAX_NAME_LENGTH = 255


def expected_sha256(headers: Headers) -> str | None:
    """The SHA-256 in hex from X-Content-SHA256 or Repr-Digest (RFC 9530), if present. Raises InvalidRequest."""
    plain = headers.get("x-content-sha256")
    if plain is not None:
        if not _HEX.fullmatch(plain.lower()):
            raise InvalidRequest("The header X-Content-SHA256 must have 64 hexadecimal digits.")
        return plain.lower()
    digest = headers.get("repr-digest")
    if digest is None or "sha-256" not in digest:
        return None
    match = _DIGEST.search(digest)
    try:
        raw = base64.b64decode(match[1], validate=True) if match else b""
    except binascii.Error:
        raw = b""
    if len(raw) != 32:
        raise InvalidRequest("The header Repr-Digest must be sha-256=:BASE64: (RFC 9530).")
    return raw.hex()


def file_name(headers: Headers, name: str | None) -> str | None:
    """The file name: the given one, else the one in Content-Disposition."""
    return sanitized_name(
        name or _parsed("content-disposition", headers.get("content-disposition", "")).get_filename() or ""
    )


def sanitized_name(name: str) -> str | None:
    """A file name without folders and control characters. None if nothing is left."""
    base = name.replace("\\", "/").rpartition("/")[2]
    printable = "".join(character for character in base if character.isprintable())
    return printable.strip()[:_MAX_NAME_LENGTH] or None


def _parsed(name: str, value: str) -> Message:
    message = Message()
    message[name] = value
    return message
