"""What the headers of an upload say about its file."""

import base64
import binascii
import re
from email.message import Message

from starlette.datastructures import Headers

from api.http.errors import InvalidRequest

_HEX = re.compile(r"[0-9a-f]{64}")
_DIGEST = re.compile(r"sha-256=:([A-Za-z0-9+/=]{44}):")
_LONGEST_NAME = 255


def announced_sha256(headers: Headers) -> str | None:
    """The SHA-256, in hex, that the client says its file has: X-Content-SHA256, or Repr-Digest (RFC 9530).

    InvalidRequest for a hash that is none.
    """
    plain = headers.get("x-content-sha256")
    if plain is not None:
        if not _HEX.fullmatch(plain.lower()):
            raise InvalidRequest("X-Content-SHA256 is 64 hexadecimal digits.")
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
        raise InvalidRequest("Repr-Digest is sha-256=:BASE64: (RFC 9530).")
    return raw.hex()


def multipart_boundary(headers: Headers) -> bytes | None:
    """The boundary of a multipart/form-data body, None for any other body. InvalidRequest if it is not given."""
    message = _parsed("content-type", headers.get("content-type", ""))
    if message.get_content_type() != "multipart/form-data":
        return None
    boundary = message.get_boundary()
    if not boundary:
        raise InvalidRequest("The multipart Content-Type names no boundary.")
    return boundary.encode("latin-1", errors="replace")


def file_name(headers: Headers, given: str | None) -> str | None:
    """The file's name: as given, else from Content-Disposition."""
    return plain_name(
        given or _parsed("content-disposition", headers.get("content-disposition", "")).get_filename() or ""
    )


def plain_name(name: str) -> str | None:
    """A file's name as it is kept: without its folders and control characters; None if nothing is left."""
    base = name.replace("\\", "/").rpartition("/")[2]
    printable = "".join(character for character in base if character.isprintable())
    return printable.strip()[:_LONGEST_NAME] or None


def _parsed(name: str, value: str) -> Message:
    message = Message()
    message[name] = value
    return message
