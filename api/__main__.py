"""Runs the API server: `python -m api`. `--fd N` serves on an inherited listening socket."""

import argparse
import socket
import sys
from typing import TYPE_CHECKING

from ttm_jobs.processes import importing, make_files_private

if TYPE_CHECKING:
    from ttm_jobs.settings import Settings


def main() -> None:
    """Serves until SIGTERM, then completes running requests within 5 seconds."""
    parser = argparse.ArgumentParser(prog="python -m api", description=__doc__)
    parser.add_argument("--fd", type=int, help="file descriptor of a listening socket")
    arguments = parser.parse_args()
    make_files_private()
    with importing():
        from api.app import create_app
        from api.server.config import create_server
        from api.server.connections import limits_of_process
        from ttm_jobs.settings import get_settings
        from ttm_jobs.telemetry import logs
        from ttm_jobs.uris import is_loopback
    settings = get_settings()
    logs.configure_stdlib()
    # A failed accept() and a malformed request are one record each.
    logs.limit_repeats("asyncio", "uvicorn.error")
    sockets = None if arguments.fd is None else [socket.socket(fileno=arguments.fd)]
    if sockets is not None:
        # The process that created the socket chose the address.
        settings = settings.model_copy(update={"host": sockets[0].getsockname()[0]})
    if not is_loopback(settings.host) and not settings.signs_people_in and not _has_key(settings):
        sys.exit(
            f"Other machines can reach {settings.host}, and no API key exists. "
            "Create one first: ttm keys create --scope admin, or set up single sign-on"
        )
    app = create_app(settings)
    create_server(app, settings, limits_of_process()).run(sockets=sockets)


def _has_key(settings: "Settings") -> bool:
    from ttm_jobs.database.engine import DATABASE_UNAVAILABLE, create_engine, read_scope
    from ttm_jobs.repositories.access import keys

    engine = create_engine(settings.database_url)
    try:
        with read_scope(engine) as session:
            return keys.any_valid(session)
    except DATABASE_UNAVAILABLE:
        # Every request checks its key, so all requests are refused until the database is back.
        return True
    finally:
        engine.dispose()


if __name__ == "__main__":
    main()
