"""A job's event stream that survives dropped connections."""

import asyncio
import json
import time
from collections.abc import AsyncIterator

import httpx2

from ttm_client.asynchronous.transport import AsyncTransport
from ttm_client.errors import ConnectionFailed, Unavailable
from ttm_client.models.jobs import TERMINAL_STATES, JobEvent
from ttm_client.protocol import job_path


async def follow(
    transport: AsyncTransport, job_id: str, *, last_event_id: str | None = None, patience: float = 300.0
) -> AsyncIterator[JobEvent]:
    """Each event after `last_event_id` once and in order, until the job has ended.

    A dropped connection is made anew from the last event seen. ConnectionFailed after `patience` seconds without one.
    """
    path = job_path(job_id) + "/events"
    lost_since: float | None = None
    attempt = 0
    while True:
        try:
            headers = {"Accept": "text/event-stream"}
            if last_event_id is not None:
                headers["Last-Event-ID"] = last_event_id
            # Three pings of the service fit into the read time-out: silence beyond it is a dead connection.
            async with transport.stream(path, headers=headers, read_timeout=45.0) as response:
                if response.status_code == 204:
                    return
                lost_since, attempt = None, 0
                async for message in httpx2.EventSource(response):
                    event = JobEvent.model_validate({**json.loads(message.data), "id": message.id})
                    last_event_id = message.id
                    yield event
                    if event.kind == "state" and event.data.get("state") in TERMINAL_STATES:
                        return
        except (httpx2.TransportError, Unavailable) as error:
            lost_since = lost_since or time.monotonic()
            if time.monotonic() - lost_since > patience:
                raise ConnectionFailed(f"{path}: {error}") from error
        await asyncio.sleep(transport.pause(min(attempt, 5)))
        attempt += 1
