"""Secrets of the service, created on first use, and the encryption of all stored secrets."""

import base64
import secrets

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import flag_modified

from ttm_jobs.models import IdempotencyKey, ServerSecret, SignInSession, Webhook


def ensure(session: Session, name: str) -> bytes:
    """Returns 32 random bytes stored under a name. Concurrent calls return the same bytes."""
    insert = sqlite_insert if session.get_bind().dialect.name == "sqlite" else postgresql_insert
    value = base64.b64encode(secrets.token_bytes(32)).decode()
    session.execute(insert(ServerSecret).values(name=name, value=value).on_conflict_do_nothing())
    return base64.b64decode(session.scalars(select(ServerSecret.value).where(ServerSecret.name == name)).one())


def reencrypt(session: Session) -> int:
    """Encrypts every secret in the database with the first key of the key file. Returns the number of secrets, without
    the stored responses that may contain one.
    """
    count = 0
    for server_secret in session.scalars(select(ServerSecret)):
        flag_modified(server_secret, "value")
        count += 1
    for webhook in session.scalars(select(Webhook).with_for_update()):
        for name in ("secret", "old_secret"):
            if getattr(webhook, name) is not None:
                flag_modified(webhook, name)
                count += 1
    for sign_in in session.scalars(select(SignInSession).where(SignInSession.id_token.is_not(None)).with_for_update()):
        flag_modified(sign_in, "id_token")
        count += 1
    for response in session.scalars(select(IdempotencyKey).with_for_update()):
        flag_modified(response, "body")
    return count
