"""`python -m api`: the API process. `--fd N` serves on a listening socket that is inherited."""

import argparse
import socket

import uvicorn
from fastapi import FastAPI

from api.app import create_app
from api.dependencies import Services
from ttm_jobs.settings import get_settings

_GRACE_SECONDS = 5


class Server(uvicorn.Server):
    """Ends the live streams when it is asked to stop; it would wait for them, and they last as long as their jobs."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        services: Services = self._app.state.services
        services.feeds.close()
        await super().shutdown(sockets)


def main() -> None:
    """Serve until SIGTERM, then finish what is running within a few seconds."""
    parser = argparse.ArgumentParser(prog="python -m api", description=__doc__)
    parser.add_argument("--fd", type=int, help="file descriptor of a listening socket")
    arguments = parser.parse_args()
    settings = get_settings()
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    sockets = None if arguments.fd is None else [socket.socket(fileno=arguments.fd)]
    Server(config, app).run(sockets=sockets)


if __name__ == "__main__":
    main()
