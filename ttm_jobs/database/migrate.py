"""Migrates the database to the newest schema: `python -m ttm_jobs.database.migrate`."""

import importlib.util
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, text

from ttm_jobs.database.engine import create_engine
from ttm_jobs.processes import make_files_private
from ttm_jobs.settings import get_settings

# An arbitrary number, the same in every process.
_LOCK = 7_311_500_441


def alembic_config() -> Config:
    """Alembic's configuration. Finds the migrations where their package is installed."""
    found = importlib.util.find_spec("migrations")
    if found is None or not found.submodule_search_locations:
        raise RuntimeError("the migrations package is not installed")
    config = Config()
    config.set_main_option("script_location", str(Path(found.submodule_search_locations[0])).replace("%", "%%"))
    return config


def upgrade(database_url: str) -> None:
    """Runs the missing migrations in one transaction. Concurrent processes wait for each other."""
    engine = create_engine(database_url)
    try:
        _upgrade(engine)
    finally:
        engine.dispose()


def _upgrade(engine: Engine) -> None:
    with engine.begin() as connection:
        lift_timeouts(connection)
        _acquire_lock(connection)
        config = alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def lift_timeouts(connection: Connection) -> None:
    """Lifts PostgreSQL's limits of the transaction and of its waits for locks: the duration of a migration depends on
    the size of the tables, and other processes wait for it.
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
        if (connection.dialect.server_version_info or ()) >= (17,):
            connection.exec_driver_sql("SET LOCAL transaction_timeout = 0")


def _acquire_lock(connection: Connection) -> None:
    # On SQLite, the transaction is exclusive from its start.
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})


if __name__ == "__main__":
    make_files_private()
    upgrade(get_settings().database_url)
