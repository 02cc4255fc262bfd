"""The events of all jobs and studies of a project."""

from collections.abc import AsyncIterator, Iterable
from urllib.parse import urlencode

from ttm_client.asynchronous.events import follow
from ttm_client.asynchronous.transport import AsyncTransport
from ttm_client.models.jobs import JobEvent
from ttm_client.options import texts
from ttm_client.protocol import RECONNECT_SECONDS


class AsyncEvents:
    """Follows all jobs and studies of the API key's project.

    >>> async for event in client.events.stream(last_event_id="0"):
    ...     print(event.kind, event.data["state"])
    ...     break
    job.state queued
    """

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    def stream(
        self,
        *,
        types: Iterable[str] = (),
        last_event_id: str | int | None = None,
        reconnect_timeout: float = RECONNECT_SECONDS,
    ) -> AsyncIterator[JobEvent]:
        """Yields each event once and in order, across dropped connections, without end: `job.state`, `job.phase` and
        the events of studies, such as `study.state`. Only those of `types`, if given.

        Starts with new events, or after `last_event_id`; "0" is the start of the stream. Raises ConnectionFailed if the
        first connection fails five times, unless `last_event_id` resumes a stream, and after `reconnect_timeout`
        seconds without a connection.

        >>> async for event in client.events.stream(types=["job.state"], last_event_id="0"):
        ...     if event.data["state"] == "succeeded":
        ...         print(event.data["job_id"] == done.id)
        ...         break
        True
        """
        query = urlencode([("type", kind) for kind in texts(types, "types")])
        path = f"/events?{query}" if query else "/events"
        return follow(self._transport, path, last_event_id=last_event_id, reconnect_timeout=reconnect_timeout)
