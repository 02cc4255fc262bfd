# From asynchronous/events.py by `python -m ttm_client.codegen.make_synchronous`: edit that.
"""The event stream of a job, a study or a project across dropped connections."""

import time
from collections.abc import Iterator

import httpx2

from ttm_client.errors import Unavailable
from ttm_client.models.jobs import TERMINAL_STATES, JobEvent
from ttm_client.protocol import RECONNECT_SECONDS, check_source, connection_failed, event_id, seconds
from ttm_client.responses import read_event
from ttm_client.synchronous.transport import Transport

_FIRST_ATTEMPTS = 5


def follow(
    transport: Transport,
    path: str,
    *,
    last_event_id: str | int | None = None,
    reconnect_timeout: float = RECONNECT_SECONDS,
) -> Iterator[JobEvent]:
    """Yields each event of the stream at `path` after `last_event_id` once and in order, until the job or study has
    ended.

    Reconnects from the last event after a dropped connection. Raises ConnectionFailed if the first connection fails
    five times, unless it resumes after `last_event_id`, and after `reconnect_timeout` seconds without a connection.
    """
    reconnect_timeout = seconds(reconnect_timeout, "reconnect_timeout")
    lost_since: float | None = None
    attempt = 0
    connected = last_event_id is not None
    while True:
        try:
            headers = {"Accept": "text/event-stream", **event_id(last_event_id)}
            # The service sends three pings within the read timeout, so a longer silence means a dead connection.
            with transport.stream(path, headers=headers, read_timeout=45.0) as response:
                if response.status_code == 204:
                    return
                check_source(response, path, media_type="text/event-stream")
                lost_since, attempt, connected = None, 0, True
                for message in httpx2.EventSource(response):
                    if not message.data:
                        last_event_id = message.id  # where the stream of a project starts
                        continue
                    event = read_event(JobEvent, message.data, {"id": message.id}, response)
                    last_event_id = message.id
                    yield event
                    if event.kind == "state" and event.data.get("state") in TERMINAL_STATES:
                        return
        except (httpx2.TransportError, Unavailable) as error:
            lost_since = lost_since or time.monotonic()
            never = not connected and attempt + 1 >= _FIRST_ATTEMPTS
            if never or time.monotonic() - lost_since > reconnect_timeout:
                raise connection_failed(path, error, transport.proxy) from error
        time.sleep(transport.pause(min(attempt, 5)))
        attempt += 1
