"""Resolves the API key of a request to its project and scope."""

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from hashlib import sha256

from sqlalchemy import Engine

from ttm_jobs.database.engine import read_scope, session_scope
from ttm_jobs.models import DEFAULT_PROJECT, Scope
from ttm_jobs.repositories.access import keys
from ttm_jobs.settings import Settings
from ttm_jobs.uris import is_loopback

# How long this process may still accept a key that another process revoked.
_CACHE_SECONDS = 5.0
_MAX_CACHED = 1024


@dataclass(frozen=True)
class Caller:
    """The project and scope of a request. `key_id` and `name` are None for requests without a key."""

    project_id: str
    scope: Scope
    key_id: str | None = None
    name: str | None = None


class Callers:
    """Looks up keys and caches them for five seconds, so that polling does not query the database for its key."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self._engine = engine
        self._allow_anonymous = settings.open_on_loopback and is_loopback(settings.host)
        self._cache: OrderedDict[bytes, tuple[float, Caller]] = OrderedDict()
        self._lock = threading.Lock()

    def cached(self, secret: str | None) -> Caller | None:
        """The caller from the cache, or None."""
        with self._lock:
            found = self._cache.get(_cache_key(secret))
        return found[1] if found is not None and found[0] > time.monotonic() else None

    def look_up(self, secret: str | None) -> Caller | None:
        """The caller from the database. None for an unknown, revoked or expired key."""
        caller = self._without_key() if secret is None else self._with_key(secret)
        if caller is not None:
            with self._lock:
                self._cache[_cache_key(secret)] = time.monotonic() + _CACHE_SECONDS, caller
                while len(self._cache) > _MAX_CACHED:
                    self._cache.popitem(last=False)
        return caller

    def clear_cache(self) -> None:
        """Clears the cache. Called after a key was created or revoked."""
        with self._lock:
            self._cache.clear()

    def _without_key(self) -> Caller | None:
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
            caller = Caller(key.project_id, key.scope, key.id, key.name)
            record_use = keys.should_record_use(session, key)
        if record_use:
            with session_scope(self._engine) as session:
                keys.record_use(session, caller.key_id or "")
        return caller


def _cache_key(secret: str | None) -> bytes:
    # Hashed, so that no secret stays in memory after its request.
    return b"" if secret is None else sha256(secret.encode()).digest()
