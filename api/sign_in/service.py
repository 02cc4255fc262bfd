"""Sessions of the dashboard: signing in with a key, selecting a project, signing out."""

from datetime import timedelta

from sqlalchemy import Engine

from api.auth.callers import Caller
from api.auth.origin import RequestOrigin
from ttm_jobs.database.audit import record
from ttm_jobs.database.engine import session_scope
from ttm_jobs.errors import Forbidden, Unauthorized
from ttm_jobs.models import Scope, SignInSession
from ttm_jobs.repositories.access import keys, sign_in_sessions


class UnknownKey(Unauthorized):
    """The API key is unknown, revoked or expired."""


def start_with_key(engine: Engine, secret: str, origin: RequestOrigin, lifetime: timedelta) -> str:
    """Starts a session with the rights of a key. Returns its token. Raises UnknownKey or Forbidden."""
    with session_scope(engine) as session:
        key = keys.find(session, secret)
        if key is None:
            raise UnknownKey
        if not key.scope.includes(Scope.READ):
            raise Forbidden(f"Pages require scope {Scope.READ} or higher; the key has {key.scope}.")
        token = sign_in_sessions.start_for_key(session, key_id=key.id, project_id=key.project_id, lifetime=lifetime)
        author = origin.author("sign_in", key_id=key.id, actor=key.name)
        record(session, author, project_id=key.project_id, name=None)
    return token


def select_project(engine: Engine, caller: Caller, token: str, project_id: str) -> None:
    """Selects one of the person's projects. Raises Forbidden."""
    if project_id not in caller.projects:
        raise Forbidden("None of your groups gives access to this project.")
    with session_scope(engine) as session:
        found = sign_in_sessions.find(session, token)
        if found is not None:
            found.project_id = project_id


def end(engine: Engine, caller: Caller, token: str, origin: RequestOrigin) -> SignInSession | None:
    """Ends a session. Returns it as it was; None if it had already ended."""
    with session_scope(engine) as session:
        found = sign_in_sessions.find(session, token)
        if found is None:
            return None
        ended = SignInSession(user_id=found.user_id, key_id=found.key_id, id_token=found.id_token)
        sign_in_sessions.end(session, found)
        author = origin.author("sign_out", key_id=caller.key_id, user_id=caller.user_id, actor=caller.name)
        record(session, author, project_id=caller.project_id, name=None)
    return ended
