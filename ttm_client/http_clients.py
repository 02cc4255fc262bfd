"""The HTTP clients below the synchronous and the asyncio client."""

import asyncio
from typing import Any

import httpx2

Http = httpx2.Client


class AsyncHttp(httpx2.AsyncClient):
    """An asyncio HTTP client that cannot work in a second event loop. Its connections belong to the first one: with
    them, a request in another loop fails or never ends.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._loop: asyncio.AbstractEventLoop | None = None

    async def send(self, *arguments: Any, **options: Any) -> httpx2.Response:
        """Sends a request. Raises RuntimeError in another event loop than that of the first request."""
        self._check_loop()
        return await super().send(*arguments, **options)

    async def aclose(self) -> None:
        """Closes the connections. Raises RuntimeError in another event loop than that of the first request."""
        self._check_loop()
        await super().aclose()

    def _check_loop(self) -> None:
        loop = asyncio.get_running_loop()
        self._loop = self._loop or loop
        if self._loop is not loop:
            raise RuntimeError(
                "The connections of this AsyncClient belong to another event loop. Create an AsyncClient in each "
                "asyncio.run() and each thread, or use Client."
            )
