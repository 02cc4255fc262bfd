"""Downloads that resume, are verified, and appear under their final name only when complete."""

import asyncio
import os
from pathlib import Path

import httpx2

from ttm_client.asynchronous.transport import AsyncTransport
from ttm_client.errors import ChecksumMismatch, InvalidRequest, Unavailable
from ttm_client.partial_file import check_replaceable, partial_file
from ttm_client.protocol import Advance, StoreFailed, connection_failed, content_size, sha256_of


async def download(
    transport: AsyncTransport,
    href: str,
    path: Path,
    *,
    sha256: str,
    size: int,
    progress: Advance | None = None,
    attempts: int = 8,
) -> Path:
    """Downloads `href` to `path`. Resumes after a broken connection and from the partial file of an earlier call.
    While another call downloads to the same path, it starts from the first byte, in a file of its own.

    Gives up after `attempts` consecutive attempts without new bytes. Raises ChecksumMismatch, which leaves neither
    file, if the service sends other content or content of another size, and OSError if `path` cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The file that a link such as /dev/stdout names is replaced, not the link.
    target = Path(os.path.realpath(path))
    check_replaceable(target)
    with partial_file(target, sha256) as part:
        await _complete(transport, href, part, sha256=sha256, size=size, progress=progress, attempts=attempts)
        os.replace(part, target)
    return path


async def _complete(
    transport: AsyncTransport,
    href: str,
    part: Path,
    *,
    sha256: str,
    size: int,
    progress: Advance | None,
    attempts: int,
) -> None:
    """Fetches what `part` lacks and verifies its hash."""
    if _size(part) > size:
        os.truncate(part, 0)
    furthest = _size(part)
    fruitless = 0
    direct = True
    while (have := _size(part)) < size:
        reason: Exception | None = None
        try:
            await _fetch(transport, href, part, have, size, progress, direct=direct)
        except ChecksumMismatch:
            part.unlink(missing_ok=True)
            raise
        except (httpx2.TransportError, Unavailable, StoreFailed) as error:
            reason = error
        # Bytes that an earlier attempt had received are not new.
        grown = _size(part) > furthest
        furthest = max(furthest, _size(part))
        # The object store may be unreachable from here; the service itself then sends the rest.
        direct = direct and (grown or not isinstance(reason, StoreFailed))
        fruitless = 0 if grown else fruitless + 1
        if fruitless >= attempts:
            failure = reason or f"received {furthest} of {size} bytes"
            raise connection_failed(href, failure, transport.proxy) from reason
        if reason is not None or not grown:
            await asyncio.sleep(transport.pause(fruitless))
    found = await asyncio.to_thread(sha256_of, part)
    if found != sha256:
        part.unlink(missing_ok=True)
        raise ChecksumMismatch(f"{href}: expected {sha256}, got {found}")


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


async def _fetch(
    transport: AsyncTransport, href: str, part: Path, have: int, size: int, progress: Advance | None, *, direct: bool
) -> None:
    """Appends what the service sends to `part`. Raises ChecksumMismatch if the content has another size."""
    headers = {"Accept-Encoding": "identity"}
    if have:
        # No If-Range: the object store uses another ETag, and the hash is checked at the end.
        headers["Range"] = f"bytes={have}-"
    try:
        async with transport.fetch(href, headers, direct=direct) as response:
            resumed = response.status_code == 206
            announced = content_size(response)
            if announced not in (None, size):
                raise ChecksumMismatch(f"{href}: expected {size} bytes, the service has {announced}")
            done = have if resumed else 0
            with part.open("ab" if resumed else "wb") as file:
                async for chunk in response.aiter_bytes():
                    file.write(chunk)
                    done += len(chunk)
                    if done > size:
                        raise ChecksumMismatch(f"{href}: expected {size} bytes, the service sends more")
                    if progress is not None:
                        progress(done, size)
                file.flush()
                os.fsync(file.fileno())
    except InvalidRequest as error:
        if error.status != 416 or not have:
            raise
        # The content is not longer than the partial file: the next attempt starts from its first byte.
        os.truncate(part, 0)
