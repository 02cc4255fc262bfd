"""Runs migrations on the connection it is given, or, from the command line, on the configured database."""

from alembic import context
from sqlalchemy import Connection

from ttm_jobs.database.engine import create_engine
from ttm_jobs.models import Base
from ttm_jobs.settings import get_settings


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        # SQLite alters a table by copying it.
        render_as_batch=connection.dialect.name == "sqlite",
        transactional_ddl=True,
    )
    if connection.dialect.name == "postgresql" and (connection.dialect.server_version_info or ()) >= (17,):
        # A migration takes as long as its tables are large.
        connection.exec_driver_sql("SET transaction_timeout = 0")
    with context.begin_transaction():
        context.run_migrations()


given: Connection | None = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    engine = create_engine(get_settings().database_url)
    with engine.begin() as opened:
        run(opened)
    engine.dispose()
