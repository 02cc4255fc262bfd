# From asynchronous/logs.py by `python -m ttm_client.codegen.make_synchronous`: edit that.
"""A trainer's log while it is written, across attempts and dropped connections."""

import time
from collections.abc import Callable, Iterator
from functools import partial

from ttm_client.errors import InvalidRequest, NotFound
from ttm_client.models.jobs import Job
from ttm_client.protocol import positive_seconds, seconds
from ttm_client.references import JobReference
from ttm_client.synchronous.polling import answer
from ttm_client.synchronous.transport import Transport

# The request overlaps the bytes already received by this many. A mismatch means the log of another attempt, or a log
# without its beginning.
_OVERLAP = 64


def follow_log(
    transport: Transport,
    reference: JobReference,
    get: Callable[[JobReference], Job],
    *,
    interval: float,
    reconnect_timeout: float,
) -> Iterator[str]:
    """Yields complete lines as they arrive, until the job has ended."""
    interval = positive_seconds(interval, "interval")
    reconnect_timeout = seconds(reconnect_timeout, "reconnect_timeout")
    known = b""
    total, waiting = 0, b""
    job = get(reference)
    job_id = job.id
    while True:
        found, again = answer(
            partial(_after, transport, job_id, total, known), reconnect_timeout=reconnect_timeout, deadline=None
        )
        if again:
            found, _ = answer(
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
        time.sleep(interval)
        job = answer(partial(get, job_id), reconnect_timeout=reconnect_timeout, deadline=None)


def _after(transport: Transport, job_id: str, total: int, known: bytes) -> tuple[bytes, bool]:
    """Returns the bytes after the first `total`, which end with `known`, and whether the log was replaced."""
    try:
        response = transport.request("GET", f"/jobs/{job_id}/log", headers={"Range": f"bytes={total - len(known)}-"})
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
