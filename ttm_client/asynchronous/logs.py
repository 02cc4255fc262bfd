"""A trainer's log while it is written, across attempts and dropped connections."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

from ttm_client.asynchronous.polling import answer
from ttm_client.asynchronous.transport import AsyncTransport
from ttm_client.errors import InvalidRequest, NotFound
from ttm_client.models.jobs import Job
from ttm_client.protocol import positive_seconds, seconds
from ttm_client.references import JobReference

# The request overlaps the bytes already received by this many. A mismatch means the log of another attempt, or a log
# without its beginning.
_OVERLAP = 64


async def follow_log(
    transport: AsyncTransport,
    reference: JobReference,
    get: Callable[[JobReference], Awaitable[Job]],
    *,
    interval: float,
    reconnect_timeout: float,
) -> AsyncIterator[str]:
    """Yields complete lines as they arrive, until the job has ended."""
    interval = positive_seconds(interval, "interval")
    reconnect_timeout = seconds(reconnect_timeout, "reconnect_timeout")
    known = b""
    total, waiting = 0, b""
    job = await get(reference)
    job_id = job.id
    while True:
        found, again = await answer(
            partial(_after, transport, job_id, total, known), reconnect_timeout=reconnect_timeout, deadline=None
        )
        if again:
            found, _ = await answer(
                partial(_after, transport, job_id, 0, b""), reconnect_timeout=reconnect_timeout, deadline=None
            )
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
        job = await answer(partial(get, job_id), reconnect_timeout=reconnect_timeout, deadline=None)


async def _after(transport: AsyncTransport, job_id: str, total: int, known: bytes) -> tuple[bytes, bool]:
    """Returns the bytes after the first `total`, which end with `known`, and whether the log was replaced."""
    try:
        response = await transport.request(
            "GET", f"/jobs/{job_id}/log", headers={"Range": f"bytes={total - len(known)}-"}
        )
    except NotFound:
        return b"", False
    except InvalidRequest as error:
        if error.status != 416:
            raise
        # The log is shorter than before: it was replaced, unless nothing was received yet.
        return b"", total > 0
    if not response.content.startswith(known):
        return b"", True
    return response.content[len(known) :], False
