"""Database access for commands that run on the service's machine."""

import getpass
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import typer

from ttm_client.cli.output import FAILED, fail

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from ttm_jobs.settings import Limits

VarOption = Annotated[
    Path,
    typer.Option("--var", help="Data folder of the service, unless TTM_DATABASE_URL or TTM_DATABASE_URL_FILE is set."),
]


def secret_key_file(var: Path) -> Path:
    """The file with the keys that encrypt secrets in the database."""
    from ttm_jobs.database.sealing import KEY_FILE_NAME

    return Path(os.environ.get("TTM_SECRET_KEY_FILE") or var.resolve() / KEY_FILE_NAME)


def record_change(session: "Session", action: str, *, project: str, name: str | None) -> None:
    """Adds an entry to a project's audit log, in the transaction of the change. The actor is the system's user."""
    from ttm_jobs.database.audit import process_author, record

    try:
        user = getpass.getuser()
    except OSError:  # a container without an entry for the user
        user = f"user {os.getuid()}"
    record(session, process_author(action, f"{user} (ttm)"), project_id=project, name=name)


@contextmanager
def open_database(var: Path, secret_key_file: Path | None = None) -> Iterator["Session"]:
    """A transaction on the database that `ttm up` uses with this folder. Creates the database if it does not exist.
    `secret_key_file` is needed where secrets are read or written.
    """
    # Imported here because it slows down the start of every command.
    from sqlalchemy.exc import SQLAlchemyError

    from ttm_jobs.database.engine import create_engine, session_scope
    from ttm_jobs.database.migrate import upgrade
    from ttm_jobs.errors import ServiceError
    from ttm_jobs.processes import private_files

    try:
        url = _database_url(var)
        with private_files():
            upgrade(url)
            engine = create_engine(url, secret_key_file)
            try:
                with session_scope(engine) as session:
                    yield session
            finally:
                engine.dispose()
    except ServiceError as error:
        fail(error.message, FAILED)
    except (SQLAlchemyError, OSError, ValueError) as error:
        fail(f"The database cannot be used: {error}", FAILED)


def default_limits(var: Path) -> "Limits":
    """The limits of projects without limits of their own, by the settings of this process. Raises ValueError if
    they are invalid.
    """
    from ttm_jobs.settings.limits import ProjectLimits

    return ProjectLimits().project_limits(_setting("TTM_STORAGE_URL") or storage_url_in(var.resolve()))


def database_url_in(var: Path) -> str:
    """The URL of the database in an absolute data folder."""
    return f"sqlite:///{var / 'ttm.db'}"


def storage_url_in(var: Path) -> str:
    """The URL of the storage in an absolute data folder."""
    return f"file:{quote(str(var / 'storage'))}"


def _database_url(var: Path) -> str:
    """The URL of the service's database. Raises ValueError if the settings are invalid."""
    from ttm_jobs.settings import database_address

    url = _setting("TTM_DATABASE_URL")
    return database_address(url) if url else database_url_in(var.resolve())


def _setting(variable: str) -> str | None:
    from ttm_jobs.secret_files import read_secret_file

    return read_secret_file(variable) or os.environ.get(variable)
