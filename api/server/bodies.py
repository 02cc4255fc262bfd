"""A minimum rate of request bodies."""

import asyncio
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.errors import BodyTimeout

# A period starts when a body begins and after each amount of this size.
_PERIOD_BYTES = 64 << 10


class SlowBodyMiddleware:
    """Raises BodyTimeout in `receive` if the client needs more than `seconds` for 64 KiB of a body. Only the time that
    the service waits for the client counts. The connection is closed after the response.
    """

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        ended = timed_out = False
        left, received = self._seconds, 0

        async def receive_in_time() -> Message:
            nonlocal ended, timed_out, left, received
            if ended:
                # The application waits for the end of the connection.
                return await receive()
            started = time.monotonic()
            try:
                async with asyncio.timeout(left):
                    message = await receive()
            except TimeoutError:
                timed_out = True
                raise BodyTimeout from None
            left -= time.monotonic() - started
            received += len(message.get("body", b""))
            ended = not message.get("more_body", False)
            if received >= _PERIOD_BYTES:
                left, received = self._seconds, 0
            return message

        async def send_and_close(message: Message) -> None:
            if timed_out and message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
            await send(message)

        await self._app(scope, receive_in_time, send_and_close)
