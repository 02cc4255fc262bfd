"""Event streams of jobs, studies and projects: one poller per process reads new events for all listeners.

A listener needs neither a thread nor a database connection.
"""

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

from anyio import CapacityLimiter, to_thread
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from sqlalchemy import Engine
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from api.live.poller import Poller
from api.live.sources import EventSource
from ttm_jobs.database.engine import read_scope
from ttm_jobs.repositories.run_data.events import StreamEvent

_PING_SECONDS = 15.0
_PAGE = 500
_MAX_RECENT = 1000


def _next_ping() -> float:
    """The time of the next ping on the clock of the event loop."""
    return asyncio.get_running_loop().time() + _PING_SECONDS


@dataclass(frozen=True)
class Message:
    """An event, serialized once for all listeners. `last` marks the final event of a stream."""

    number: int
    kind: str
    text: bytes
    last: bool


@dataclass
class _Feed:
    """The newest events of a followed stream. `recent` holds every event with `floor` < number <= `head`."""

    floor: int
    head: int
    recent: deque[Message] = field(default_factory=deque)
    listeners: int = 0
    deleted: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def since(self, number: int) -> list[Message] | None:
        """The messages after a number. None if `recent` does not reach back that far."""
        return None if number < self.floor else [message for message in self.recent if message.number > number]

    def publish(self, messages: Sequence[Message]) -> None:
        self.recent.extend(messages)
        self.head = messages[-1].number
        while len(self.recent) > _MAX_RECENT:
            self.floor = self.recent.popleft().number
        self.wake()

    def wake(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()


class Feeds:
    """The event feeds of a source in this process. Call all methods on the event loop; only the database is read in
    threads.
    """

    def __init__(self, engine: Engine, source: EventSource) -> None:
        self._engine = engine
        self._source = source
        self._feeds: dict[str, _Feed] = {}
        self._closed = False
        # Separate from the thread pool of requests, so that neither starves the other.
        self._threads = CapacityLimiter(4)
        self._poller = Poller(self._poll, is_needed=lambda: bool(self._feeds))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Runs the poller within this block."""
        async with self._poller.running():
            try:
                yield
            finally:
                self.close()

    def close(self) -> None:
        """Ends every stream after its pending messages. Clients reconnect with `Last-Event-ID`."""
        self._closed = True
        for feed in self._feeds.values():
            feed.wake()

    async def follow(
        self,
        stream_id: str,
        after: int,
        newest: int,
        *,
        kinds: frozenset[str] | None = None,
        announced: bool = False,
    ) -> AsyncGenerator[bytes]:
        """Yields each event after number `after`, once and in order, until the final event or the deletion of the
        resource, with pings in between.

        Args:
            stream_id: the stream.
            after: number of the last event that the client has.
            newest: number of the newest event at the time of the request.
            kinds: kinds of events to yield; None for all.
            announced: yields `after` first, as an id without an event, so that a client that loses the connection
                before the first event can resume.
        """
        if announced:
            yield f"id: {after}\n\n".encode()
        feed = self._feeds.setdefault(stream_id, _Feed(floor=newest, head=newest))
        feed.listeners += 1
        self._poller.wake()
        ping_at = _next_ping()
        try:
            while not self._closed:
                changed = feed.changed
                messages = feed.since(after)
                caught_up = messages is not None
                if messages is None:
                    messages = await to_thread.run_sync(self._read, stream_id, after, limiter=self._threads)
                for message in messages:
                    after = message.number
                    if kinds is None or message.kind in kinds:
                        yield message.text
                        ping_at = _next_ping()
                    if message.last:
                        return
                if caught_up and not messages:
                    if feed.deleted:
                        return
                    try:
                        async with asyncio.timeout_at(ping_at):
                            await changed.wait()
                    except TimeoutError:
                        yield KEEPALIVE_COMMENT
                        ping_at = _next_ping()
                elif not messages:
                    # Superseded progress events leave gaps in the numbers: everything up to the floor has been read.
                    after = max(after, feed.floor)
        finally:
            feed.listeners -= 1
            if feed.listeners == 0 and self._feeds.get(stream_id) is feed:
                del self._feeds[stream_id]

    async def _poll(self) -> None:
        heads = {stream_id: feed.head for stream_id, feed in self._feeds.items()}
        for stream_id, messages in (await to_thread.run_sync(self._read_new, heads, limiter=self._threads)).items():
            feed = self._feeds.get(stream_id)
            if feed is None:
                continue
            if messages is None:
                # Its events were deleted with it, perhaps before the final one was read.
                feed.deleted = True
                feed.wake()
            # The feed may have been removed and recreated at a later event while the thread was reading.
            elif messages and feed.head < messages[-1].number:
                feed.publish([message for message in messages if message.number > feed.head])

    def _read_new(self, heads: dict[str, int]) -> dict[str, list[Message] | None]:
        """The messages after a number of each stream that has new ones; None for deleted resources."""
        with read_scope(self._engine) as session:
            newest = self._source.last_event_numbers(session, list(heads))
        found: dict[str, list[Message] | None] = {
            stream_id: self._read(stream_id, head)
            for stream_id, head in heads.items()
            if newest.get(stream_id, 0) > head
        }
        return found | dict.fromkeys(heads.keys() - newest.keys() if self._source.deletable else ())

    def _read(self, stream_id: str, after: int) -> list[Message]:
        with read_scope(self._engine) as session:
            return [self._message(row) for row in self._source.after(session, stream_id, after, limit=_PAGE)]

    def _message(self, row: StreamEvent) -> Message:
        payload = json.dumps({"kind": row.kind, "at": row.at.isoformat(), "data": row.data})
        return Message(
            number=row.number,
            kind=row.kind,
            text=format_sse_event(data_str=payload, event=row.kind, id=str(row.number)),
            last=self._source.is_last(row),
        )


async def _while_true(
    condition: Callable[[], Awaitable[bool]], messages: AsyncGenerator[bytes]
) -> AsyncIterator[bytes]:
    """The messages until a condition is false, which is checked before a message every 15 seconds."""
    check_at = _next_ping()
    async for message in messages:
        if asyncio.get_running_loop().time() >= check_at:
            if not await condition():
                return
            check_at = _next_ping()
        yield message


class EventStream(StreamingResponse):
    """The response to a listener. Sends the output of `follow` unchanged.

    FastAPI's own EventSourceResponse needs two tasks and two queues per listener and serializes every event for each
    of them.

    The credentials of the request are checked again at every ping: a stream of a project has no end of its own.
    """

    def __init__(self, messages: AsyncGenerator[bytes], status_code: int = 200) -> None:
        # Proxies must not buffer the stream.
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        super().__init__(messages, status_code, headers, "text/event-stream")
        self._messages = messages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.body_iterator = _while_true(scope["state"]["may_read"], self._messages)
        await super().__call__(scope, receive, send)

    async def stream_response(self, send: Send) -> None:
        # Removes the listener if the client disconnects while an event is sent.
        async with aclosing(self._messages):
            await super().stream_response(send)
