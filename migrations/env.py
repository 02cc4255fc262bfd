"""Runs migrations on a given connection or, from the command line, on the configured database."""

from alembic import context
from sqlalchemy import Connection

from ttm_jobs.database.engine import create_engine
from ttm_jobs.database.migrate import lift_timeouts
from ttm_jobs.models import Base
from ttm_jobs.settings import get_settings


def include_name(name: str | None, type_: str, parent_names: object) -> bool:
    """Excludes the name search from comparisons, because the models do not contain it."""
    return not (name or "").startswith(("job_name", "ix_jobs_name_trigrams"))


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        include_name=include_name,
        # SQLite cannot alter columns; batch mode copies the table.
        render_as_batch=connection.dialect.name == "sqlite",
        transactional_ddl=True,
    )
    lift_timeouts(connection)
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
