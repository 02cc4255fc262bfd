"""The configuration of uvicorn, and a server that ends event streams at shutdown."""

import socket

import uvicorn
from fastapi import FastAPI

from api.dependencies import Services
from api.server.connections import Connections, Limits
from api.server.protocol import protocol_with
from ttm_jobs.settings import Settings

_GRACE_SECONDS = 5
_KEEP_ALIVE_SECONDS = 5


class Server(uvicorn.Server):
    """Closes event streams and long polls at shutdown, because uvicorn would wait for them to end."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        services: Services = self._app.state.services
        services.feeds.close()
        services.changes.close()
        await super().shutdown(sockets)


def create_server(app: FastAPI, settings: Settings, limits: Limits, *, grace_seconds: int = _GRACE_SECONDS) -> Server:
    """A server of the app with limits on its connections. At shutdown, running requests have `grace_seconds`."""
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=protocol_with(Connections(limits)),
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        # api.auth.proxies decides which proxies are trusted.
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=grace_seconds,
        # The kernel queues connections beyond this number.
        backlog=128,
    )
    return Server(config, app)
