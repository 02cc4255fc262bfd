"""HTTP/1.1 with timeouts for clients that do not send or do not read, in addition to uvicorn's keep-alive timeout."""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from api.server.connections import Connections


class LimitedProtocol(H11Protocol):
    """A connection that is closed if the headers of a request or the reading of a response take too long."""

    open_connections: Connections

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.address = ""
        self._header_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None

    @property
    def is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def abort(self) -> None:
        self.transport.abort()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.address = self.client[0] if self.client else ""
        self.open_connections.add(self)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self.open_connections.discard(self)
        for timer in (self._header_timer, self._write_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._write_timer = self.loop.call_later(self.open_connections.limits.write_seconds, self.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _watch(self) -> None:
        """Starts the timer between requests, stops it during one. Bytes of an incomplete request do not restart it."""
        if self.is_idle and not self.transport.is_closing():
            if self._header_timer is None:
                self._header_timer = self.loop.call_later(self.open_connections.limits.header_seconds, self.abort)
        elif self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None


def protocol_with(connections: Connections) -> type[LimitedProtocol]:
    """The protocol class of a server with these connections. uvicorn creates its instances."""
    return type("BoundProtocol", (LimitedProtocol,), {"open_connections": connections})
