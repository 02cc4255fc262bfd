"""The OpenID Connect provider: its discovery document and keys, the authorization URL and the exchange of codes."""

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import anyio
import httpx2
import structlog
from authlib.common.urls import add_params_to_uri
from authlib.integrations.httpx_client import AsyncOAuth2Client, OAuthError
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from joserfc.jwk import KeySet

from api.auth.oidc import id_token
from api.auth.oidc.cached import Cached
from api.auth.oidc.errors import ProviderUnavailable, SignInRefused
from api.auth.oidc.transport import ProviderTransport, UnexpectedAnswer
from ttm_jobs.settings import Settings

log = structlog.get_logger()

_ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri")


@dataclass(frozen=True)
class Identity:
    """A person as the provider describes them. `id_token` is the token itself."""

    claims: Mapping[str, Any]
    id_token: str


class Provider:
    """The configured provider. The discovery document and the keys are cached for an hour in this process."""

    def __init__(self, settings: Settings) -> None:
        assert settings.oidc_issuer is not None
        assert settings.oidc_client_id is not None
        self.issuer = settings.oidc_issuer
        self._client_id = settings.oidc_client_id
        self._client_secret = settings.oidc_client_secret
        self._scopes = settings.oidc_scopes
        self._timeout = settings.oidc_timeout_seconds
        issuer = urlsplit(self.issuer)
        self._origins = (f"{issuer.scheme}://{issuer.netloc}", *settings.oidc_hosts)
        self._metadata = Cached(self._load_metadata)
        self._keys = Cached(self._load_keys)

    @cached_property
    def _context(self) -> ssl.SSLContext:
        # Reading the certificates takes tens of milliseconds. SSL_CERT_FILE names others.
        return ssl.create_default_context()

    async def authorization_url(self, *, redirect_uri: str, state: str, nonce: str, verifier: str) -> str:
        """Where the browser goes to sign in. Raises ProviderUnavailable."""
        url = prepare_grant_uri(
            (await self._metadata.get())["authorization_endpoint"],
            client_id=self._client_id,
            response_type="code",
            redirect_uri=redirect_uri,
            scope=self._scopes,
            state=state,
            nonce=nonce,
            code_challenge=create_s256_code_challenge(verifier),
            code_challenge_method="S256",
        )
        return str(url)

    async def exchange(self, *, code: str, redirect_uri: str, nonce: str, verifier: str) -> Identity:
        """The person who signed in. Raises SignInRefused or ProviderUnavailable."""
        metadata = await self._metadata.get()
        async with self._client(_auth_method(metadata, self._client_secret)) as client:
            try:
                answer = await client.fetch_token(
                    metadata["token_endpoint"],
                    grant_type="authorization_code",
                    code=code,
                    redirect_uri=redirect_uri,
                    code_verifier=verifier,
                )
            except OAuthError as error:
                log.warning("sign-in refused by the provider", error=error.error, description=error.description)
                raise SignInRefused(f"The provider refused the sign-in: {error.error}. Start again.") from error
        token, access_token = answer.get("id_token"), answer.get("access_token")
        if not isinstance(token, str) or not isinstance(access_token, str | None):
            raise ProviderUnavailable("The provider's answer contains no ID token.")
        return Identity(await self._check(token, nonce, access_token), token)

    async def end_session_url(self, *, id_token_hint: str | None, redirect_uri: str) -> str | None:
        """Where the browser goes to sign out at the provider, too. None if the provider has no such page."""
        try:
            endpoint = (await self._metadata.get()).get("end_session_endpoint")
        except ProviderUnavailable:
            return None
        if not isinstance(endpoint, str) or not self._is_expected(endpoint):
            return None
        parameters = [("client_id", self._client_id), ("post_logout_redirect_uri", redirect_uri)]
        if id_token_hint is not None:
            parameters.append(("id_token_hint", id_token_hint))
        return str(add_params_to_uri(endpoint, parameters))

    async def _check(self, token: str, nonce: str, access_token: str | None) -> Mapping[str, Any]:
        # With an unknown key id, the provider may have published new keys.
        for renew in (False, True):
            keys = await self._keys.get(renew=renew)
            try:
                return id_token.check(
                    token,
                    keys,
                    issuer=self.issuer,
                    client_id=self._client_id,
                    nonce=nonce,
                    access_token=access_token,
                )
            except id_token.UnknownKey:
                continue
        raise SignInRefused("The ID token is signed with an unknown key.")

    async def _load_metadata(self) -> Mapping[str, Any]:
        return self._valid(await self._get(f"{self.issuer.rstrip('/')}/.well-known/openid-configuration"))

    async def _load_keys(self) -> KeySet:
        document = await self._get((await self._metadata.get())["jwks_uri"])
        try:
            return id_token.public_keys(document)
        except ValueError as error:
            raise ProviderUnavailable(f"The provider's keys are unusable: {error}.") from error

    def _valid(self, document: Mapping[str, Any]) -> Mapping[str, Any]:
        # Another issuer's document could send the browser, and the code, elsewhere.
        if document.get("issuer") != self.issuer:
            raise ProviderUnavailable("The discovery document names another issuer than TTM_OIDC_ISSUER.")
        for name in _ENDPOINTS:
            endpoint = document.get(name)
            if not isinstance(endpoint, str) or not self._is_expected(endpoint):
                raise ProviderUnavailable(
                    f"The discovery document's {name} is neither on the issuer's host nor listed in TTM_OIDC_HOSTS."
                )
        return document

    def _is_expected(self, url: str) -> bool:
        """Whether a URL is at the issuer or at a listed origin."""
        try:
            parsed = httpx2.URL(url)
        except httpx2.InvalidURL:
            return False
        known = map(httpx2.URL, self._origins)
        return any((parsed.scheme, parsed.host, parsed.port) == (each.scheme, each.host, each.port) for each in known)

    async def _get(self, url: str) -> Mapping[str, Any]:
        async with self._client() as client:
            response = await client.request("GET", url, withhold_token=True, headers={"Accept": "application/json"})
            response.raise_for_status()
            document = response.json()
        if not isinstance(document, dict):
            raise ProviderUnavailable("The provider's answer is not a JSON object.")
        return document

    @asynccontextmanager
    async def _client(self, auth_method: str = "none") -> AsyncIterator[AsyncOAuth2Client]:
        """A client with a limit on the time of everything done with it. Turns its failures into ProviderUnavailable."""
        try:
            with anyio.fail_after(self._timeout):
                async with AsyncOAuth2Client(
                    client_id=self._client_id,
                    client_secret=self._client_secret,
                    token_endpoint_auth_method=auth_method,
                    transport=ProviderTransport(self._origins, self._context),
                    follow_redirects=False,
                    trust_env=False,
                    timeout=self._timeout,
                ) as client:
                    yield client
        # ValueError: an answer that is not JSON. RecursionError: JSON with very many levels.
        except (
            httpx2.HTTPError,
            httpx2.InvalidURL,
            UnexpectedAnswer,
            TimeoutError,
            ValueError,
            RecursionError,
        ) as error:
            log.warning("identity provider unavailable", error=f"{type(error).__name__}: {error}")
            raise ProviderUnavailable from error


def _auth_method(metadata: Mapping[str, Any], secret: str | None) -> str:
    """How the client authenticates: Basic unless the provider supports only the secret in the body."""
    if secret is None:
        return "none"
    supported = metadata.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
    return "client_secret_basic" if "client_secret_basic" in supported else "client_secret_post"
