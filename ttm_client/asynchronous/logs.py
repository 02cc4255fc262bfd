"""A job's output as it is written, across attempts and dropped connections."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from ttm_client.asynchronous.transport import AsyncTransport
from ttm_client.errors import InvalidRequest, NotFound
from ttm_client.models.jobs import Job
from ttm_client.protocol import job_path

# So many of the bytes known already are asked for again: another attempt's log, or one cut at its beginning, differs.
_OVERLAP = 64


async def follow_log(
    transport: AsyncTransport, job_id: str, get: Callable[[str], Awaitable[Job]], *, interval: float
) -> AsyncIterator[str]:
    """Whole lines as they come, until the job has ended."""
    known = b""
    total, waiting = 0, b""
    while True:
        job = await get(job_id)
        found, again = await _after(transport, job_id, total, known)
        if again:
            found, _ = await _after(transport, job_id, 0, b"")
            total, waiting = 0, b""
        total += len(found)
        known = (known + found)[-_OVERLAP:] if not again else found[-_OVERLAP:]
        lines, newline, waiting = (waiting + found).rpartition(b"\n")
        if job.done:
            lines, newline, waiting = lines + newline + waiting, b"", b""
        if lines or newline:
            yield (lines + newline).decode("utf-8", "replace")
        if job.done:
            return
        await asyncio.sleep(interval)


async def _after(transport: AsyncTransport, job_id: str, total: int, known: bytes) -> tuple[bytes, bool]:
    """What follows the first `total` bytes, of which `known` are the last; and whether it is another log now."""
    try:
        answer = await transport.request(
            "GET", job_path(job_id) + "/log", headers={"Range": f"bytes={total - len(known)}-"}
        )
    except NotFound:
        return b"", False
    except InvalidRequest as error:
        if error.status != 416:
            raise
        # Shorter than what is known: another one, unless there is nothing yet.
        return b"", total > 0
    if not answer.content.startswith(known):
        return b"", True
    return answer.content[len(known) :], False
