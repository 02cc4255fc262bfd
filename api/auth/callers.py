"""Who asks: a key's secret turned into a project and a scope."""

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from hashlib import sha256

from sqlalchemy import Engine

from api.auth.loopback import is_loopback
from ttm_jobs.database.engine import read_scope, session_scope
from ttm_jobs.models import DEFAULT_PROJECT, Scope
from ttm_jobs.repositories.access import keys
from ttm_jobs.settings import Settings

# How long a key that was revoked elsewhere, and the absence of keys, may be believed.
_BELIEVED_SECONDS = 5.0
_KEPT = 1024


@dataclass(frozen=True)
class Caller:
    """Whose rows a request sees, and what it may do. `key_id` and `name` are the key's; None where none was needed."""

    project_id: str
    scope: Scope
    key_id: str | None = None
    name: str | None = None


class Callers:
    """Looks keys up, and remembers them for a few seconds, so that a poll costs no look at them."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self._engine = engine
        self._may_be_open = settings.open_on_loopback and is_loopback(settings.host)
        self._known: OrderedDict[bytes, tuple[float, Caller]] = OrderedDict()
        self._lock = threading.Lock()

    def remembered(self, secret: str | None) -> Caller | None:
        """The caller, if a look within the last seconds found one."""
        with self._lock:
            found = self._known.get(_name(secret))
        return found[1] if found is not None and found[0] > time.monotonic() else None

    def look_up(self, secret: str | None) -> Caller | None:
        """The caller as the database knows it; None for whom it does not."""
        caller = self._without_key() if secret is None else self._with_key(secret)
        if caller is not None:
            with self._lock:
                self._known[_name(secret)] = time.monotonic() + _BELIEVED_SECONDS, caller
                while len(self._known) > _KEPT:
                    self._known.popitem(last=False)
        return caller

    def forget(self) -> None:
        """A key was made or revoked here: look anew."""
        with self._lock:
            self._known.clear()

    def _without_key(self) -> Caller | None:
        if not self._may_be_open:
            return None
        with read_scope(self._engine) as session:
            return None if keys.any_valid(session) else Caller(DEFAULT_PROJECT, Scope.ADMIN)

    def _with_key(self, secret: str) -> Caller | None:
        with read_scope(self._engine) as session:
            key = keys.find(session, secret)
            if key is None:
                return None
            caller = Caller(key.project_id, key.scope, key.id, key.name)
            noteworthy = keys.should_record_use(session, key)
        if noteworthy:
            with session_scope(self._engine) as session:
                keys.record_use(session, caller.key_id or "")
        return caller


def _name(secret: str | None) -> bytes:
    # The memory of this process holds no secret longer than a request.
    return b"" if secret is None else sha256(secret.encode()).digest()
