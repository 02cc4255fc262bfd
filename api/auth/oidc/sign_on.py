"""Single sign-on: starts and finishes sign-ins at the identity provider."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from anyio import to_thread
from sqlalchemy import Engine

from api.auth import groups
from api.auth.oidc import requests
from api.auth.oidc.errors import NoAccess, SignInRefused
from api.auth.oidc.provider import Identity, Provider
from api.auth.origin import RequestOrigin
from ttm_jobs.database.audit import record
from ttm_jobs.database.engine import session_scope
from ttm_jobs.models import SignInSession
from ttm_jobs.repositories.access import projects, server_secrets, sign_in_sessions
from ttm_jobs.repositories.access.sign_in_sessions import StateUsed
from ttm_jobs.settings import Settings

# A longer token would make the sign-out's URL longer than servers accept.
_MAX_ID_TOKEN_HINT = 6000


@dataclass(frozen=True)
class Started:
    """A sign-in in progress: the provider's page, and the cookie that ties it to this browser."""

    url: str
    cookie: str


@dataclass(frozen=True)
class Finished:
    """A new session's token, and the path to show."""

    token: str
    path: str


class SignOn:
    """Signs people in with the configured provider."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self._settings = settings
        self._engine = engine
        self._provider = Provider(settings)
        self._lifetime = timedelta(hours=settings.session_hours)
        self._secret: bytes | None = None

    async def start(self, path: str, redirect_uri: str) -> Started:
        """Starts a sign-in that leads to `path`. Raises ProviderUnavailable."""
        secret = await self._signing_secret()
        request = requests.start(path)
        url = await self._provider.authorization_url(
            redirect_uri=redirect_uri,
            state=request.state,
            nonce=request.nonce(secret),
            verifier=request.verifier(secret),
        )
        return Started(url, request.sign(secret))

    async def finish(
        self, *, cookie: str | None, state: str, code: str, redirect_uri: str, origin: RequestOrigin
    ) -> Finished:
        """Starts the session. Raises SignInRefused, NoAccess or ProviderUnavailable."""
        secret = await self._signing_secret()
        request = requests.resume(secret, cookie, state)
        identity = await self._provider.exchange(
            code=code, redirect_uri=redirect_uri, nonce=request.nonce(secret), verifier=request.verifier(secret)
        )
        token = await to_thread.run_sync(self._start_session, identity, request.state, origin)
        return Finished(token, request.path)

    async def end_session_url(self, session: SignInSession, redirect_uri: str) -> str | None:
        """The provider's page that ends its session, too. None for the session of a key or without such a page."""
        if session.user_id is None:
            return None
        return await self._provider.end_session_url(id_token_hint=session.id_token, redirect_uri=redirect_uri)

    async def _signing_secret(self) -> bytes:
        if self._secret is None:

            def read() -> bytes:
                with session_scope(self._engine) as session:
                    return server_secrets.ensure(session, requests.SECRET)

            self._secret = await to_thread.run_sync(read)
        return self._secret

    def _start_session(self, identity: Identity, state: str, origin: RequestOrigin) -> str:
        user_id = _subject(identity.claims)
        name = groups.display_name(identity.claims, user_id)
        claim = identity.claims.get(self._settings.oidc_groups_claim)
        held = groups.granting(claim, self._settings.group_access)
        access = groups.access(held, self._settings.group_access)
        if not access:
            raise NoAccess
        project = next(iter(access))
        with session_scope(self._engine) as session:
            for project_id in access:
                projects.ensure(session, project_id)
            try:
                token = sign_in_sessions.start_for_person(
                    session,
                    user_id=user_id,
                    name=name,
                    groups=held,
                    project_id=project,
                    id_token=identity.id_token if len(identity.id_token) <= _MAX_ID_TOKEN_HINT else None,
                    state=state,
                    lifetime=self._lifetime,
                )
            except StateUsed:
                raise SignInRefused("This sign-in was already completed. Start again.") from None
            record(session, origin.author("sign_in", user_id=user_id, actor=name), project_id=project, name=None)
        return token


def _subject(claims: Mapping[str, Any]) -> str:
    subject = claims.get("sub")
    if not isinstance(subject, str) or not groups.is_user_id(subject):
        raise SignInRefused("The ID token's subject is empty, too long or not text.")
    return subject
