"""Runs the commands of docs/how-to/backup-and-restore.md: dump, wipe, restore, then downloads a student."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from tests.api.conftest import make_settings
from tests.support.factories import job_of, queued
from tests.support.runs import STUDENT_BYTES, STUDENT_SHA256, claim, succeed
from tests.support.servers import PostgresServer
from ttm_jobs.database.engine import create_engine, read_scope
from ttm_jobs.repositories.jobs import crud
from ttm_jobs.settings import Settings
from ttm_jobs.states import JobState
from ttm_jobs.storage import build_storage

PAGE = (Path(__file__).parents[2] / "docs/how-to/backup-and-restore.md").read_text()


def commands(heading: str) -> list[str]:
    """The shell commands of a section."""
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return [line for block in re.findall(r"```sh\n(.*?)```", section, re.DOTALL) for line in block.splitlines()]


def after_restore(url: str) -> None:
    """The last command of a restore."""
    environment = os.environ | {"TTM_DATABASE_URL": url}
    subprocess.run([sys.executable, "-m", "cli", "after-restore"], env=environment, check=True, capture_output=True)


def run_through(
    url: str, folder: Path, back_up: Callable[[], None], wipe: Callable[[], None], restore: Callable[[], None]
) -> None:
    settings = make_settings(url, folder)
    engine = create_engine(url)
    storage = build_storage(settings.storage_url)
    job_id = queued(engine)
    succeed(engine, storage, claim(engine, job_id))
    running = claim(engine, queued(engine))
    back_up()
    shutil.copytree(folder / "storage", folder / "storage-copy")
    unknown = queued(engine)
    engine.dispose()

    wipe()
    shutil.rmtree(folder / "storage")
    restore()
    after_restore(url)
    shutil.copytree(folder / "storage-copy", folder / "storage")

    with TestClient(create_app(settings)) as client:
        response = client.get(f"/jobs/{job_id}/student")
        assert response.content == STUDENT_BYTES
        assert response.headers["etag"].strip('"') == STUDENT_SHA256
        assert client.get(f"/jobs/{unknown}").status_code == 404
    engine = create_engine(url)
    with read_scope(engine) as session:
        assert [attempt.outcome for attempt in crud.attempts(session, running.job_id)] == ["released"]
    assert job_of(engine, running.job_id).state is JobState.QUEUED
    claim(engine, running.job_id)
    assert job_of(engine, running.job_id).attempt == 1
    engine.dispose()


def test_postgresql(postgres: PostgresServer, postgresql_url: str, tmp_path: Path) -> None:
    name = postgresql_url.rpartition("/")[2]
    dump, create, restore, last = [line for line in commands("PostgreSQL") if line]
    assert last == "ttm after-restore"

    def shell(line: str) -> None:
        expanded = line.replace("$DATABASE", postgres.dsn(name)).replace("$SERVER", postgres.dsn())
        program, *arguments = (name if word == "ttm" else word for word in shlex.split(expanded))
        subprocess.run([postgres.binary(program), *arguments], cwd=tmp_path, check=True, capture_output=True)

    def restored() -> None:
        shell(create)
        shell(restore)

    run_through(
        postgresql_url,
        tmp_path,
        back_up=lambda: shell(dump),
        wipe=lambda: postgres.drop_database(name),
        restore=restored,
    )


def test_sqlite(sqlite_url: str, tmp_path: Path) -> None:
    [line] = commands("SQLite")
    path = Path(sqlite_url.removeprefix("sqlite:///"))

    def back_up() -> None:
        arguments = shlex.split(
            line.replace("var/ttm.db", str(path)).replace("ttm-backup.db", str(tmp_path / "copy.db"))
        )
        assert arguments[0] == "python"
        subprocess.run([sys.executable, *arguments[1:]], check=True)

    def wipe() -> None:
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)

    def restore() -> None:
        shutil.copy(tmp_path / "copy.db", path)

    run_through(sqlite_url, tmp_path, back_up, wipe, restore)


@pytest.mark.parametrize("setting", re.findall(r"`TTM_(\w+)`", PAGE))
def test_documented_settings_exist(setting: str) -> None:
    assert setting.lower() in Settings.model_fields
