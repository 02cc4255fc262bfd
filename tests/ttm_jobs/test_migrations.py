import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect

from tests.support.servers import PostgresServer
from ttm_jobs.database import engine as engine_module
from ttm_jobs.database.engine import create_engine
from ttm_jobs.database.ids import new_id
from ttm_jobs.database.migrate import _acquire_lock, alembic_config, upgrade
from ttm_jobs.models import Base


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/new/folder/ttm.db"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.create_database(f"empty_{new_id()}")


def run(engine: Engine, *steps: str) -> None:
    with engine.begin() as connection:
        config = alembic_config()
        config.attributes["connection"] = connection
        for step in steps:
            match step:
                case "check":
                    command.check(config)
                case "base":
                    command.downgrade(config, "base")
                case "head":
                    command.upgrade(config, "head")


def tables(engine: Engine) -> set[str]:
    # The models do not contain the name search of SQLite.
    return {
        name
        for name in inspect(engine).get_table_names()
        if name != "alembic_version" and not name.startswith("job_name")
    }


def test_migrations_are_reversible_and_match_the_models(empty_url: str) -> None:
    upgrade(empty_url)
    engine = create_engine(empty_url)
    assert tables(engine) == set(Base.metadata.tables)
    run(engine, "check")
    run(engine, "base")
    assert tables(engine) == set()
    run(engine, "head", "check")
    assert tables(engine) == set(Base.metadata.tables)
    engine.dispose()


def test_migrated_tables_match_the_models(empty_url: str) -> None:
    """Covers partial indexes, sort orders and key columns, which Alembic's own check ignores."""
    upgrade(empty_url)
    engine = create_engine(empty_url)
    migrated = _definitions(engine)
    run(engine, "base")
    Base.metadata.create_all(engine)
    assert migrated == _definitions(engine)
    engine.dispose()


def _definitions(engine: Engine) -> set[str]:
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            rows = connection.exec_driver_sql(
                "SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE '%alembic%' AND name NOT LIKE 'job_name%'"
                " AND type <> 'trigger' AND sql IS NOT NULL"
            )
            return {part for kind, name, sql in rows for part in _parts(kind, name, sql)}
        rows = connection.exec_driver_sql(
            "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
            " AND indexname <> 'ix_jobs_name_trigrams'"
            " UNION SELECT conrelid::regclass || conname || pg_get_constraintdef(oid) FROM pg_constraint"
            " WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text <> 'alembic_version'"
            " UNION SELECT table_name || column_name || data_type || is_nullable || coalesce(column_default, '')"
            " || coalesce(character_maximum_length, 0) FROM information_schema.columns"
            " WHERE table_schema = 'public' AND table_name <> 'alembic_version'"
        )
        return {str(row[0]) for row in rows}


def _parts(kind: str, name: str, sql: str) -> list[str]:
    """The parts of a definition, for comparison.

    An index is one part. A table is split into columns, constraints and options, because migrations append columns.
    """
    sql = " ".join(sql.split())
    if kind != "table":
        return [sql]
    _, _, inner = sql.partition("(")
    columns, _, options = inner.rpartition(")")
    # Ignores commas within parentheses.
    return [f"{name}: {part.strip()}" for part in [*re.split(r",(?![^(]*\))", columns), options]]


def test_repeated_upgrade_changes_nothing(empty_url: str) -> None:
    upgrade(empty_url)
    upgrade(empty_url)


def test_concurrent_upgrades_wait_for_each_other(empty_url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(upgrade, [empty_url] * 4))
    engine = create_engine(empty_url)
    assert tables(engine) == set(Base.metadata.tables)
    engine.dispose()


def test_an_upgrade_waits_longer_than_other_transactions(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres.create_database(f"locked_{new_id()}")
    upgrade(url)
    first = create_engine(url)
    monkeypatch.setattr(engine_module, "_LOCK_MS", 100)
    with ThreadPoolExecutor(1) as pool:
        with first.begin() as connection:
            _acquire_lock(connection)
            second = pool.submit(upgrade, url)
            with pytest.raises(TimeoutError):
                second.result(timeout=1)
        second.result(timeout=60)
    first.dispose()


def test_migration_history_is_linear() -> None:
    assert len(ScriptDirectory.from_config(alembic_config()).get_heads()) == 1
