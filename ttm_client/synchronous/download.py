# Generated from asynchronous/download.py by `python -m ttm_client.codegen.make_synchronous`: edit that file.
"""Downloads that resume, are verified, and appear under their name only when whole."""

import os
import time
from pathlib import Path

import httpx2

from ttm_client.errors import ChecksumMismatch, ConnectionFailed, InvalidRequest, Unavailable
from ttm_client.protocol import Advance, StoreFailed, sha256_of
from ttm_client.synchronous.transport import Transport


def download(
    transport: Transport,
    href: str,
    path: Path,
    *,
    sha256: str,
    size: int,
    progress: Advance | None = None,
    attempts: int = 8,
) -> Path:
    """Fetch `href` into `path`. What an earlier call left behind is continued, a broken connection as well.

    `attempts` bounds the tries in a row that bring nothing. ChecksumMismatch leaves neither file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The hash in the name ties a part to its content: a part of another file is never continued.
    part = path.with_name(f".{path.name}.{sha256[:16]}.part")
    fruitless = 0
    direct = True
    while (have := part.stat().st_size if part.exists() else 0) < size:
        try:
            _fetch(transport, href, part, have, size, progress, direct=direct)
        except (httpx2.TransportError, Unavailable, StoreFailed) as error:
            grown = part.exists() and part.stat().st_size > have
            # A store that sends nothing may be out of reach from here: the service, which is not, sends the rest.
            direct = direct and (grown or not isinstance(error, StoreFailed))
            fruitless = 0 if grown else fruitless + 1
            if fruitless >= attempts:
                raise ConnectionFailed(f"{href}: {error}") from error
            time.sleep(transport.pause(fruitless))
    # A file of no bytes is never asked for.
    part.touch()
    found = sha256_of(part)
    if found != sha256:
        part.unlink(missing_ok=True)
        raise ChecksumMismatch(f"{href}: expected {sha256}, got {found}")
    os.replace(part, path)
    return path


def _fetch(
    transport: Transport, href: str, part: Path, have: int, size: int, progress: Advance | None, *, direct: bool
) -> None:
    headers = {"Accept-Encoding": "identity"}
    if have:
        # Without If-Range: the object store knows the file by another tag, and its hash is checked in the end.
        headers["Range"] = f"bytes={have}-"
    try:
        with transport.fetch(href, headers, direct=direct) as response:
            resumed = response.status_code == 206
            done = have if resumed else 0
            with part.open("ab" if resumed else "wb") as file:
                for chunk in response.iter_bytes():
                    file.write(chunk)
                    done += len(chunk)
                    if progress is not None:
                        progress(done, size)
                file.flush()
                os.fsync(file.fileno())
    except InvalidRequest as error:
        if error.status != 416:
            raise
        part.unlink()
