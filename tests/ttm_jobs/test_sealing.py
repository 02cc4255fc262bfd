"""Secrets are encrypted in the database, on both databases, and keys are rotated under a running process."""

import stat
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from pydantic import ValidationError
from sqlalchemy import Engine, text

from tests.support.factories import create_job
from ttm_jobs.database.engine import create_engine, read_scope, session_scope
from ttm_jobs.database.sealing import SecretKeyUnusable, add_key, drop_old_keys
from ttm_jobs.repositories.access import server_secrets
from ttm_jobs.repositories.jobs import leases
from ttm_jobs.repositories.webhooks import crud as webhook_crud
from ttm_jobs.repositories.webhooks import deliveries
from ttm_jobs.settings import Settings


@pytest.fixture
def sealed(database_url: str, key_file: Path) -> Iterator[Engine]:
    engine = create_engine(database_url, key_file)
    yield engine
    engine.dispose()


def create_secrets(engine: Engine) -> tuple[str, bytes]:
    """The secrets of a webhook and of links."""
    with session_scope(engine) as session:
        webhook = webhook_crud.create(session, url="https://hooks.example.org/", events=[], description=None)
        return webhook.secret, server_secrets.ensure(session, "links")


def read_secrets(engine: Engine) -> tuple[str, bytes]:
    with session_scope(engine) as session:
        (webhook,) = webhook_crud.list_all(session)
        return webhook.secret, server_secrets.ensure(session, "links")


def stored(engine: Engine) -> list[str]:
    with engine.begin() as connection:
        columns = "SELECT secret FROM webhooks UNION ALL SELECT old_secret FROM webhooks UNION ALL SELECT value FROM server_secrets"
        return [value for value in connection.execute(text(columns)).scalars() if value is not None]


def test_secrets_are_encrypted_in_the_database(sealed: Engine) -> None:
    created = create_secrets(sealed)
    assert len(stored(sealed)) == 2
    assert all(value.startswith("fernet:") for value in stored(sealed))
    assert read_secrets(sealed) == created


def test_rotation_reaches_an_engine_that_was_created_before(sealed: Engine, database_url: str, key_file: Path) -> None:
    created = create_secrets(sealed)
    with session_scope(sealed) as session:
        current = webhook_crud.rotate(session, webhook_crud.list_all(session)[0].id).secret
    before = stored(sealed)
    add_key(key_file)
    operator = create_engine(database_url, key_file)
    with session_scope(operator) as session:
        assert server_secrets.reencrypt(session) == 3
    operator.dispose()
    drop_old_keys(key_file)
    assert not set(before) & set(stored(sealed))
    assert read_secrets(sealed) == (current, created[1])
    newest = Fernet(key_file.read_text().split()[0])
    assert created[0] in {newest.decrypt(value.removeprefix("fernet:").encode()).decode() for value in stored(sealed)}


def test_plain_secrets_are_readable_and_encrypted_by_a_rotation(engine: Engine, sealed: Engine) -> None:
    created = create_secrets(engine)
    assert read_secrets(sealed) == created
    with session_scope(sealed) as session:
        server_secrets.reencrypt(session)
    assert all(value.startswith("fernet:") for value in stored(engine))
    assert read_secrets(sealed) == created


def test_lost_key_is_an_error_and_changes_nothing(sealed: Engine, engine: Engine, key_file: Path) -> None:
    create_secrets(sealed)
    before = stored(sealed)
    with read_scope(engine) as session, pytest.raises(SecretKeyUnusable, match="set TTM_SECRET_KEY_FILE"):
        webhook_crud.list_all(session)
    key_file.write_bytes(Fernet.generate_key())
    with pytest.raises(SecretKeyUnusable, match=r"No key of .* decrypts"):
        read_secrets(sealed)
    with session_scope(sealed) as session, pytest.raises(SecretKeyUnusable):
        server_secrets.reencrypt(session)
    assert stored(sealed) == before


def test_job_of_a_project_with_a_webhook_starts_without_the_key(sealed: Engine, engine: Engine) -> None:
    """As in workers, which have no access to the secrets."""
    create_secrets(sealed)
    with session_scope(engine) as session:
        job_id = create_job(session).id
    with session_scope(engine) as session:
        assert leases.claim(session, job_id, "worker-1", duration=timedelta(minutes=1)) is not None
    with read_scope(sealed) as session:
        (webhook,) = webhook_crud.list_all(session)
        found = deliveries.list_all(session, webhook.id, limit=10)
        assert [each.event for each in found] == ["job.running", "job.queued"]


def test_key_file_is_readable_by_its_owner_only_and_keeps_two_keys(key_file: Path) -> None:
    for _ in range(3):
        add_key(key_file)
        drop_old_keys(key_file)
    assert len(set(key_file.read_text().split())) == 2
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600


@pytest.mark.parametrize("content", ["", "short", "not a key\n" * 3, "é" * 44])
def test_invalid_key_file_is_rejected_at_the_start(tmp_path: Path, content: str) -> None:
    path = tmp_path / "secret.key"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValidationError, match="must contain Fernet keys"):
        Settings(secret_key_file=path)
    with pytest.raises(ValidationError, match="cannot be read"):
        Settings(secret_key_file=tmp_path / "none")
