"""The tus 1.0 protocol for resumable uploads (https://tus.io/protocols/resumable-upload)."""

import base64
import hashlib
from binascii import Error as NotBase64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.errors import InvalidRequest, UnsupportedMediaType, UnsupportedTusVersion, error_response

VERSION = "1.0.0"
CONTENT_TYPE = "application/offset+octet-stream"
# The protocol knows only the first. Clients that are generated from an OpenAPI document cannot send it.
CONTENT_TYPES = (CONTENT_TYPE, "application/octet-stream")
_CHECKSUMS = ("sha1", "sha256")
_OVERRIDABLE = frozenset({"PATCH", "DELETE"})
# Methods that exist only in the protocol.
_TUS_METHODS = frozenset({"PATCH", "HEAD"})
_COLLECTION_METHODS, _UPLOAD_METHODS = frozenset({"POST"}), frozenset({"DELETE"}) | _TUS_METHODS


@dataclass(frozen=True)
class Checksum:
    """The checksum of a request body."""

    algorithm: str
    digest: bytes

    def new(self) -> "hashlib._Hash":
        return hashlib.new(self.algorithm, usedforsecurity=False)


class TusMiddleware:
    """Checks the protocol version, adds it to responses, and applies `X-HTTP-Method-Override`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not is_upload_path(scope["path"]):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        override = headers.get("x-http-method-override", "").upper()
        if scope["method"] == "POST" and override in _OVERRIDABLE:
            scope["method"] = override
        version = headers.get("tus-resumable")
        methods = _COLLECTION_METHODS if scope["path"] == "/uploads" else _UPLOAD_METHODS
        if scope["method"] not in methods or (version is None and scope["method"] not in _TUS_METHODS):
            await self._app(scope, receive, send)
            return

        async def send_versioned(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Tus-Resumable"] = VERSION
            await send(message)

        if version != VERSION:
            await error_response(Request(scope), UnsupportedTusVersion())(scope, receive, send_versioned)
            return
        await self._app(scope, receive, send_versioned)


def is_upload_path(path: str) -> bool:
    """Whether requests with this path send the bytes of uploads."""
    return path == "/uploads" or (path.startswith("/uploads/") and path.count("/") == 2)


def capabilities(max_bytes: int) -> Mapping[str, str]:
    """The headers of the response to OPTIONS."""
    return {
        "Tus-Version": VERSION,
        "Tus-Extension": "creation,creation-with-upload,expiration,checksum,termination",
        "Tus-Checksum-Algorithm": ",".join(_CHECKSUMS),
        "Tus-Max-Size": str(max_bytes),
    }


def number(headers: Headers, name: str) -> int:
    """A header with a number of bytes. Raises InvalidRequest."""
    value = headers.get(name, "")
    if not (value.isascii() and value.isdecimal() and len(value) <= 18):
        raise InvalidRequest(f"The header {name} must be a number of bytes.")
    return int(value)


def check_content_type(headers: Headers) -> None:
    """Raises UnsupportedMediaType unless the body has the content type of tus or of any bytes."""
    if headers.get("content-type", "").partition(";")[0].strip().lower() not in CONTENT_TYPES:
        raise UnsupportedMediaType(f"Send the bytes with `Content-Type: {CONTENT_TYPE}`.")


def file_name(headers: Headers) -> str | None:
    """The file name in Upload-Metadata; other metadata is ignored. Raises InvalidRequest."""
    name = None
    for pair in filter(None, (part.strip() for part in headers.get("upload-metadata", "").split(","))):
        key, _, value = pair.partition(" ")
        try:
            decoded = base64.b64decode(value, validate=True).decode()
        except (NotBase64, UnicodeDecodeError):
            raise InvalidRequest("The header Upload-Metadata must contain pairs of a key and a base64 value.") from None
        if key in ("filename", "name"):
            name = name or decoded
    return name


def checksum(headers: Headers) -> Checksum | None:
    """The checksum in Upload-Checksum, if present. Raises InvalidRequest for an unsupported algorithm."""
    header = headers.get("upload-checksum")
    if header is None:
        return None
    algorithm, _, value = header.partition(" ")
    try:
        digest = base64.b64decode(value, validate=True)
    except NotBase64:
        digest = b""
    if algorithm not in _CHECKSUMS or len(digest) != hashlib.new(algorithm, usedforsecurity=False).digest_size:
        raise InvalidRequest(
            f"The header Upload-Checksum must be {' or '.join(_CHECKSUMS)}, a space, and the digest in base64."
        )
    return Checksum(algorithm, digest)


def expires(at: datetime) -> dict[str, str]:
    """The header with the time at which an incomplete upload expires."""
    return {"Upload-Expires": format_datetime(at, usegmt=True)}
