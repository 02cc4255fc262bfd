"""Resolves the credentials of a request to its project and scope."""

import threading
import time
from collections import OrderedDict
from contextvars import ContextVar
from dataclasses import dataclass
from hashlib import sha256
from typing import assert_never

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from api.auth import groups
from api.auth.credentials.reading import Credentials, KeySecret, ProxyIdentity, SessionToken
from api.auth.oidc.errors import NoAccess
from ttm_jobs.database.engine import read_scope, session_scope
from ttm_jobs.models import DEFAULT_PROJECT, ApiKey, Project, Scope
from ttm_jobs.repositories.access import keys, sign_in_sessions
from ttm_jobs.repositories.access.projects import ensure
from ttm_jobs.settings import Settings
from ttm_jobs.uris import is_loopback

# How long this process may still accept credentials that another process revoked.
_CACHE_SECONDS = 5.0
_MAX_CACHED = 1024


@dataclass(frozen=True)
class Caller:
    """The project and scope of a request. `key_id` is set for keys, `user_id` for people, neither for requests without
    credentials. `projects` lists what a person may select.
    """

    project_id: str
    scope: Scope
    key_id: str | None = None
    user_id: str | None = None
    name: str | None = None
    projects: tuple[str, ...] = ()
    # Whether a session of the dashboard authenticates the request, which can be ended there.
    has_session: bool = False

    @property
    def is_anonymous(self) -> bool:
        return self.key_id is None and self.user_id is None

    @property
    def rate_name(self) -> str | None:
        """What the rate limit counts; None for the address."""
        return self.key_id or (None if self.user_id is None else f"user:{self.user_id}")


# The caller of the request in progress, for the header of each page.
current_caller: ContextVar[Caller | None] = ContextVar("current_caller", default=None)


class Callers:
    """Looks up credentials and caches them for five seconds, so that polling does not query the database for them."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self._engine = engine
        self._groups = settings.group_access
        self._allow_anonymous = (
            settings.open_on_loopback and is_loopback(settings.host) and not settings.signs_people_in
        )
        self._cache: OrderedDict[bytes, tuple[float, Caller]] = OrderedDict()
        self._lock = threading.Lock()

    def cached(self, credentials: Credentials) -> Caller | None:
        """The caller from the cache, or None."""
        with self._lock:
            found = self._cache.get(_cache_key(credentials))
        return found[1] if found is not None and found[0] > time.monotonic() else None

    def has_seen(self, credentials: Credentials) -> bool:
        """Whether these credentials were valid before in this process. They may be revoked since."""
        with self._lock:
            return _cache_key(credentials) in self._cache

    def look_up(self, credentials: Credentials) -> Caller | None:
        """The caller from the database. None for unknown, revoked or expired credentials. Raises NoAccess."""
        caller = self._find(credentials)
        if caller is not None:
            with self._lock:
                self._cache[_cache_key(credentials)] = time.monotonic() + _CACHE_SECONDS, caller
                while len(self._cache) > _MAX_CACHED:
                    self._cache.popitem(last=False)
        return caller

    def clear_cache(self) -> None:
        """Clears the cache. Called after a key was created or revoked, and after a session changed."""
        with self._lock:
            self._cache.clear()

    def _find(self, credentials: Credentials) -> Caller | None:
        match credentials:
            case None:
                return self._without_credentials()
            case KeySecret(secret):
                return self._with_key(secret)
            case SessionToken(token):
                return self._with_session(token)
            case ProxyIdentity():
                return self._with_identity(credentials)
            case _:
                assert_never(credentials)

    def _without_credentials(self) -> Caller | None:
        if not self._allow_anonymous:
            return None
        with read_scope(self._engine) as session:
            # Also after the last key expired or was revoked: the service must not become open by itself.
            return None if keys.any_ever(session) else Caller(DEFAULT_PROJECT, Scope.ADMIN)

    def _with_key(self, secret: str) -> Caller | None:
        with read_scope(self._engine) as session:
            key = keys.find(session, secret)
            if key is None:
                return None
            caller = _of_key(key)
            record_use = keys.should_record_use(session, key)
        if record_use:
            with session_scope(self._engine) as session:
                keys.record_use(session, caller.key_id or "")
        return caller

    def _with_identity(self, person: ProxyIdentity) -> Caller:
        projects = groups.access(person.groups, self._groups)
        if not projects:
            raise NoAccess
        project, scope = next(iter(projects.items()))
        with read_scope(self._engine) as session:
            known = session.get(Project, project) is not None
        if not known:
            with session_scope(self._engine) as session:
                ensure(session, project)
        return Caller(project, scope, user_id=person.user_id, name=person.name)

    def _with_session(self, token: str) -> Caller | None:
        with read_scope(self._engine) as session:
            return self._of_session(session, token)

    def _of_session(self, session: Session, token: str) -> Caller | None:
        row = sign_in_sessions.find(session, token)
        if row is None:
            return None
        if row.key_id is not None:
            key = keys.get_valid(session, row.key_id)
            return None if key is None else _of_key(key, has_session=True)
        # The mapping as it is now: a group that lost its access loses it here.
        projects = groups.access(row.groups, self._groups)
        if not projects:
            return None
        project = row.project_id if row.project_id in projects else next(iter(projects))
        return Caller(
            project,
            projects[project],
            user_id=row.user_id,
            name=row.name,
            projects=tuple(projects),
            has_session=True,
        )


def _of_key(key: ApiKey, *, has_session: bool = False) -> Caller:
    return Caller(key.project_id, key.scope, key.id, name=key.name, has_session=has_session)


def _cache_key(credentials: Credentials) -> bytes:
    # Hashed, so that no secret stays in memory after its request.
    return sha256(repr(credentials).encode()).digest()
