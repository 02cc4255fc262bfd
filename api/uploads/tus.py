"""The words of tus 1.0 (https://tus.io/protocols/resumable-upload), by which uploads are resumed."""

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

from api.http.errors import InvalidRequest, UnsupportedMediaType, UnsupportedTusVersion, refuse

VERSION = "1.0.0"
CONTENT_TYPE = "application/offset+octet-stream"
_CHECKSUMS = ("sha1", "sha256")
_OVERRIDABLE = frozenset({"PATCH", "DELETE"})
# Those that mean nothing without the protocol.
_OF_TUS_ALONE = frozenset({"PATCH", "HEAD"})
_OF_ALL, _OF_ONE = frozenset({"POST"}), frozenset({"DELETE"}) | _OF_TUS_ALONE


@dataclass(frozen=True)
class Checksum:
    """Of one request's body."""

    algorithm: str
    digest: bytes

    def new(self) -> "hashlib._Hash":
        return hashlib.new(self.algorithm, usedforsecurity=False)


class Tus:
    """Asks for the version of the protocol, tells it in every answer, and takes the method of clients that can only
    POST from `X-HTTP-Method-Override`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not is_upload(scope["path"]):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        override = headers.get("x-http-method-override", "").upper()
        if scope["method"] == "POST" and override in _OVERRIDABLE:
            scope["method"] = override
        version = headers.get("tus-resumable")
        spoken = _OF_ALL if scope["path"] == "/uploads" else _OF_ONE
        if scope["method"] not in spoken or (version is None and scope["method"] not in _OF_TUS_ALONE):
            await self._app(scope, receive, send)
            return

        async def send_versioned(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Tus-Resumable"] = VERSION
            await send(message)

        if version != VERSION:
            await refuse(Request(scope), UnsupportedTusVersion())(scope, receive, send_versioned)
            return
        await self._app(scope, receive, send_versioned)


def is_upload(path: str) -> bool:
    """Whether a path is one of the uploads'."""
    return path == "/uploads" or path.startswith("/uploads/")


def abilities(max_bytes: int) -> Mapping[str, str]:
    """What is answered to OPTIONS."""
    return {
        "Tus-Version": VERSION,
        "Tus-Extension": "creation,creation-with-upload,expiration,checksum,termination",
        "Tus-Checksum-Algorithm": ",".join(_CHECKSUMS),
        "Tus-Max-Size": str(max_bytes),
    }


def number(headers: Headers, name: str) -> int:
    """A header that counts bytes. InvalidRequest."""
    told = headers.get(name, "")
    if not (told.isascii() and told.isdecimal() and len(told) <= 18):
        raise InvalidRequest(f"{name} is a number of bytes.")
    return int(told)


def check_content_type(headers: Headers) -> None:
    """UnsupportedMediaType."""
    if headers.get("content-type", "").partition(";")[0].strip().lower() != CONTENT_TYPE:
        raise UnsupportedMediaType(f"The body must be bytes: send `Content-Type: {CONTENT_TYPE}`.")


def file_name(headers: Headers) -> str | None:
    """Of the metadata only the name is of interest. InvalidRequest for metadata that is none."""
    name = None
    for pair in filter(None, (part.strip() for part in headers.get("upload-metadata", "").split(","))):
        key, _, value = pair.partition(" ")
        try:
            decoded = base64.b64decode(value, validate=True).decode()
        except (NotBase64, UnicodeDecodeError):
            raise InvalidRequest("Upload-Metadata is pairs of a key and its value in base64.") from None
        if key in ("filename", "name"):
            name = name or decoded
    return name


def checksum(headers: Headers) -> Checksum | None:
    """Of the body, where it is announced. InvalidRequest for an algorithm that is not offered."""
    told = headers.get("upload-checksum")
    if told is None:
        return None
    algorithm, _, value = told.partition(" ")
    try:
        digest = base64.b64decode(value, validate=True)
    except NotBase64:
        digest = b""
    if algorithm not in _CHECKSUMS or len(digest) != hashlib.new(algorithm, usedforsecurity=False).digest_size:
        raise InvalidRequest(f"Upload-Checksum is {' or '.join(_CHECKSUMS)} and the digest in base64.")
    return Checksum(algorithm, digest)


def expires(at: datetime) -> dict[str, str]:
    """The header that says until when an upload may be resumed."""
    return {"Upload-Expires": format_datetime(at, usegmt=True)}
