"""The addresses a spec may name: upload:ID, job:ID (its student) and file:// under an allowed root. Nothing else is
read.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ttm_jobs.errors import UriNotAllowed

_ID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_UPLOAD = re.compile(rf"upload:({_ID})")
_JOB = re.compile(rf"job:({_ID})")
# One spelling of a path: no host, user, query, fragment or chained scheme, and no sign that another reader of the same
# address could take for one of them.
_FILE = re.compile(r"file://(/[^?#\\\x00-\x1f\x7f]*)")


@dataclass(frozen=True)
class UploadUri:
    upload_id: str


@dataclass(frozen=True)
class JobUri:
    """The student of a job that succeeded."""

    job_id: str


@dataclass(frozen=True)
class FileUri:
    """An absolute path, as written: not yet looked at."""

    path: str


Uri = UploadUri | JobUri | FileUri


def parse_uri(uri: str) -> Uri:
    """The parts of an address; UriNotAllowed for every other one."""
    if (match := _UPLOAD.fullmatch(uri)) is not None:
        return UploadUri(match[1])
    if (match := _JOB.fullmatch(uri)) is not None:
        return JobUri(match[1])
    if (match := _FILE.fullmatch(uri)) is not None and "::" not in uri and urlsplit(uri).netloc == "":
        path = unquote(match[1], errors="strict") if _decodes(match[1]) else None
        if path is not None and "\x00" not in path:
            return FileUri(path)
    raise UriNotAllowed("An address is upload:ID, job:ID, or file:///PATH under a folder that the operator allowed.")


def local_path(uri: FileUri, roots: Sequence[Path]) -> Path:
    """The real path, links followed, if it exists under one of the roots. UriNotAllowed otherwise, with the same words
    whether the path exists or not.
    """
    try:
        real = Path(uri.path).resolve(strict=True)
    except (OSError, RuntimeError):
        real = None
    if real is None or not any(real.is_relative_to(root.resolve()) for root in roots):
        raise UriNotAllowed(
            "There is nothing at this address, or it lies outside the folders that the operator allowed."
        )
    return real


def _decodes(text: str) -> bool:
    try:
        unquote(text, errors="strict")
    except UnicodeDecodeError:
        return False
    return True
