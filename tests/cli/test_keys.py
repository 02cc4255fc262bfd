"""`ttm keys` and `ttm projects` on a new data folder."""

import getpass
import json
import re
from pathlib import Path
from shutil import disk_usage

import pytest
from click.testing import Result
from sqlalchemy import Engine, select
from typer.testing import CliRunner

from cli.admin.database import open_database
from ttm_client.cli.main import app
from ttm_jobs.database.engine import create_engine, read_scope
from ttm_jobs.models import AuditEntry, Project, Scope
from ttm_jobs.models.project import UNLIMITED
from ttm_jobs.repositories.access import audit, keys
from ttm_jobs.repositories.webhooks import crud as webhook_crud


@pytest.fixture
def var(tmp_path: Path) -> Path:
    return tmp_path / "var"


def ttm(var: Path, *words: str) -> Result:
    return CliRunner().invoke(app, [*words, "--var", str(var)])


def database(var: Path) -> Engine:
    return create_engine(f"sqlite:///{var / 'ttm.db'}")


def test_create_list_and_revoke_key(var: Path) -> None:
    assert ttm(var, "keys", "create", "--name", "first", "--project", "vision", "--scope", "admin").exit_code == 0
    made = ttm(var, "keys", "create", "--name", "nightly", "--project", "vision", "--scope", "read", "--days", "3")
    assert made.exit_code == 0, made.stderr
    secret = made.stdout.strip()
    assert re.fullmatch(r"ttm_[0-9a-f]{8}_[\w-]{43}", secret)
    with read_scope(database(var)) as session:
        key = keys.find(session, secret)
        assert key is not None
        assert (key.project_id, key.scope, key.name) == ("vision", Scope.READ, "nightly")
        assert key.expires_at is not None
    listed = ttm(var, "keys", "list", "--project", "vision").stdout
    assert secret not in listed
    assert listed.splitlines()[1].split("\t")[:4] == [key.id, key.prefix, "vision", "nightly"]
    assert ttm(var, "keys", "revoke", key.id).exit_code == 0
    with read_scope(database(var)) as session:
        assert keys.find(session, secret) is None
    gone = ttm(var, "keys", "revoke", "nothing")
    assert (gone.exit_code, gone.stdout) == (1, "")
    assert "The API key does not exist" in gone.stderr


@pytest.mark.parametrize("scope", ["read", "submit"])
def test_first_key_must_have_scope_admin(var: Path, scope: str) -> None:
    refused = ttm(var, "keys", "create", "--name", "first", "--scope", scope)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "must have scope admin" in " ".join(refused.stderr.replace("│", " ").split())
    assert ttm(var, "keys", "list").stdout == ""


def test_keys_json_output(var: Path) -> None:
    made = json.loads(ttm(var, "keys", "create", "--name", "nightly", "--scope", "admin", "--json").stdout)
    (listed,) = json.loads(ttm(var, "keys", "list", "--json").stdout)
    assert (listed["id"], listed["name"], listed["revoked"]) == (made["id"], "nightly", None)
    assert json.loads(ttm(var, "keys", "revoke", made["id"], "--json").stdout) == {"id": made["id"], "revoked": True}
    assert json.loads(ttm(var, "keys", "list", "--json").stdout)[0]["revoked"] is not None


def test_set_and_list_project_limits(var: Path) -> None:
    assert ttm(var, "projects", "set", "vision", "--max-queued-jobs", "3", "--max-stored-bytes", "none").exit_code == 0
    with read_scope(database(var)) as session:
        project = session.get_one(Project, "vision")
        assert (project.max_queued_jobs, project.max_stored_bytes, project.max_running_jobs) == (3, UNLIMITED, None)
    rows = [line.split("\t") for line in ttm(var, "projects", "list").stdout.splitlines()]
    half = f"0 of {disk_usage(var).total // 2:g}"
    assert rows == [["default", "0", "0 of 10000", half, "0", "all"], ["vision", "0", "0 of 3", "0", "0", "all"]]
    listed = json.loads(ttm(var, "projects", "list", "--json").stdout)
    assert listed[1]["queued_jobs"] == {"used": 0, "limit": 3}
    assert listed[1]["stored_bytes"] == {"used": 0, "limit": None}
    for wrong in ("-1", "many", str(2**31)):
        assert ttm(var, "projects", "set", "vision", "--max-queued-jobs", wrong).exit_code == 2
    assert ttm(var, "projects", "set", "vision", "--max-device-hours", "1.5").exit_code == 0
    assert ttm(var, "projects", "list").stdout.splitlines()[1].split("\t")[2:5] == ["0 of 10000", half, "0 of 1.5"]
    refused = ttm(var, "projects", "set", "Odd Name")
    assert refused.exit_code == 1
    assert "lowercase letters" in refused.stderr


def test_restrict_a_project_and_lift_it(var: Path) -> None:
    sources = ("--data-root", "/data/vision", "--origin", "https://data.example.org:443", "--bucket", "gs://pets")
    assert ttm(var, "projects", "restrict", "vision", *sources).exit_code == 0
    listed = {"data_roots": ["/data/vision"], "origins": ["https://data.example.org"], "buckets": ["gs://pets"]}
    with read_scope(database(var)) as session:
        assert session.get_one(Project, "vision").sources == listed
    assert json.loads(ttm(var, "projects", "list", "--json").stdout)[1]["sources"] == listed
    # Limits are set without effect on the sources.
    assert ttm(var, "projects", "set", "vision", "--max-queued-jobs", "3").exit_code == 0
    row = ttm(var, "projects", "list").stdout.splitlines()[1].split("\t")
    assert row[5] == "/data/vision https://data.example.org gs://pets"
    assert ttm(var, "projects", "restrict", "vision").exit_code == 0
    assert ttm(var, "projects", "list").stdout.splitlines()[1].endswith("\tnone")
    assert ttm(var, "projects", "unrestrict", "vision").exit_code == 0
    with read_scope(database(var)) as session:
        assert session.get_one(Project, "vision").sources is None
        actions = [entry.action for entry in session.scalars(select(AuditEntry).order_by(AuditEntry.id))]
    assert actions == ["projects_restrict", "projects_set", "projects_restrict", "projects_unrestrict"]
    for wrong in (("--data-root", "data"), ("--origin", "data.example.org")):
        assert ttm(var, "projects", "restrict", "vision", *wrong).exit_code == 2


def test_database_url_from_a_file(var: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TTM_DATABASE_URL", raising=False)
    file = tmp_path / "database_url"
    file.write_text(f"sqlite:///{tmp_path / 'other.db'}\n")
    monkeypatch.setenv("TTM_DATABASE_URL_FILE", str(file))
    assert ttm(var, "projects", "set", "vision").exit_code == 0
    assert (tmp_path / "other.db").exists()
    assert not var.exists()
    monkeypatch.setenv("TTM_DATABASE_URL_FILE", str(tmp_path / "missing"))
    refused = ttm(var, "projects", "list")
    assert refused.exit_code == 1
    assert "TTM_DATABASE_URL_FILE" in refused.stderr


def test_rotate_secrets_creates_the_key_file_and_encrypts(var: Path) -> None:
    with open_database(var) as session:
        webhook_crud.create(session, url="https://hooks.example.org/", events=[], description=None)
    for _ in range(2):
        rotated = ttm(var, "secrets", "rotate", "--json")
        assert rotated.exit_code == 0, rotated.stderr
        assert json.loads(rotated.stdout) == {"key_file": str(var / "secret.key"), "secrets": 1}
    engine = database(var)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT secret FROM webhooks").scalar_one().startswith("fernet:")
    engine.dispose()


def test_rotation_with_an_invalid_key_file_is_an_error(var: Path) -> None:
    var.mkdir()
    (var / "secret.key").write_text("no key")
    refused = ttm(var, "secrets", "rotate", "--keep-file")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "must contain Fernet keys" in " ".join(refused.stderr.split())


def test_changes_are_in_the_audit_log_of_their_project(var: Path) -> None:
    for project in ("vision", "audio"):
        assert ttm(var, "keys", "create", "--project", project, "--scope", "admin").exit_code == 0
    with read_scope(database(var)) as session:
        key_id = keys.list_all(session, project_id="audio")[0].id
    assert ttm(var, "keys", "revoke", key_id).exit_code == 0
    assert ttm(var, "projects", "set", "vision", "--max-queued-jobs", "3").exit_code == 0
    assert ttm(var, "secrets", "rotate").exit_code == 0
    assert ttm(var, "keys", "delete-all", "--yes").exit_code == 0
    with read_scope(database(var)) as session:
        entries = audit.find(session, audit.AuditFilters(), limit=20)[::-1]
    assert [(entry.project_id, entry.action) for entry in entries] == [
        ("vision", "keys_create"),
        ("audio", "keys_create"),
        ("audio", "keys_revoke"),
        ("vision", "projects_set"),
        ("default", "secrets_rotate"),
        ("audio", "keys_delete_all"),
        ("vision", "keys_delete_all"),
    ]
    assert {entry.actor for entry in entries} == {f"{getpass.getuser()} (ttm)"}
    assert [entry.object for entry in entries[1:4]] == [key_id, key_id, "vision"]
    assert {entry.address for entry in entries} == {None}
