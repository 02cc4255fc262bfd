# From asynchronous/download.py by `python -m ttm_client.codegen.make_synchronous`: edit that.
"""Downloads that resume, are verified, and appear under their final name only when complete."""

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
    """Downloads `href` to `path`. Resumes after a broken connection and from the partial file of an earlier call.

    Gives up after `attempts` consecutive attempts without new bytes. ChecksumMismatch leaves neither file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The hash in the name prevents resuming from the partial file of another content.
    part = path.with_name(f".{path.name}.{sha256[:16]}.part")
    fruitless = 0
    direct = True
    while (have := part.stat().st_size if part.exists() else 0) < size:
        try:
            _fetch(transport, href, part, have, size, progress, direct=direct)
        except (httpx2.TransportError, Unavailable, StoreFailed) as error:
            grown = part.exists() and part.stat().st_size > have
            # The object store may be unreachable from here; the service itself then sends the rest.
            direct = direct and (grown or not isinstance(error, StoreFailed))
            fruitless = 0 if grown else fruitless + 1
            if fruitless >= attempts:
                raise ConnectionFailed(f"{href}: {error}") from error
            time.sleep(transport.pause(fruitless))
    # An empty file needs no request.
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
        # No If-Range: the object store uses another ETag, and the hash is checked at the end.
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
