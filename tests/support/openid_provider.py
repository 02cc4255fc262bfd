"""An OpenID Connect provider: Authlib's authorization server behind HTTP on a free port of 127.0.0.1.

It requires PKCE and a registered redirect URI, accepts each code once, and signs ID tokens with RS256. A test may make it
misbehave: fail, answer slowly, or issue other ID tokens.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

# Authlib reads this when it checks that a request came over https.
os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import AuthorizationCodeGrant
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oidc.core import OpenIDCode
from flask import Flask, Response, jsonify, redirect, request
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey
from werkzeug.serving import make_server

CLIENT_ID = "dashboard"
CLIENT_SECRET = "client-secret-of-the-dashboard"

Claims = dict[str, Any]


def _key(kid: str) -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": kid, "use": "sig", "alg": "RS256"})


# Generating a key takes a tenth of a second.
_FIRST_KEY, _SECOND_KEY = _key("first"), _key("second")


@dataclass
class Client:
    redirect_uris: set[str]

    def get_client_id(self) -> str:
        return CLIENT_ID

    def get_default_redirect_uri(self) -> None:
        return None

    def get_allowed_scope(self, scope: str) -> str:
        return scope

    def check_redirect_uri(self, uri: str) -> bool:
        return uri in self.redirect_uris

    def check_client_secret(self, secret: str) -> bool:
        return secret == CLIENT_SECRET

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method == "client_secret_basic"

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code"

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type == "authorization_code"


@dataclass
class Code:
    code: str
    subject: str
    redirect_uri: str
    scope: str
    nonce: str
    code_challenge: str
    code_challenge_method: str

    def get_redirect_uri(self) -> str:
        return self.redirect_uri

    def get_scope(self) -> str:
        return self.scope

    def get_nonce(self) -> str:
        return self.nonce

    def get_auth_time(self) -> None:
        return None

    def get_acr(self) -> None:
        return None

    def get_amr(self) -> None:
        return None


@dataclass
class OpenIdProvider:
    """The provider's state. `encode` issues ID tokens; `before` runs before each request except those of pages."""

    url: str
    # The claims of each person by subject.
    people: dict[str, Claims] = field(default_factory=dict)
    redirect_uris: set[str] = field(default_factory=set)
    # The person whom the authorization page signs in.
    subject: str = "ana-1"
    # Accepts a code as often as it is sent.
    reuse_codes: bool = False
    requests: list[str] = field(default_factory=list)
    discovery: dict[str, Any] = field(default_factory=dict)
    before: Callable[[str], Response | None] = lambda path: None
    encode: Callable[[Claims], str] = lambda claims: jwt.encode({"alg": "RS256", "kid": "first"}, claims, _FIRST_KEY)
    keys: KeySet = field(default_factory=lambda: KeySet([_FIRST_KEY]))
    codes: dict[str, Code] = field(default_factory=dict)

    def behave(self) -> None:
        """Forgets the requests and all changes of a test, except the redirect URIs."""
        fresh = OpenIdProvider(self.url, redirect_uris=self.redirect_uris)
        vars(self).update(vars(fresh))

    @property
    def key(self) -> RSAKey:
        """The key that signs ID tokens."""
        return _FIRST_KEY

    @property
    def other_key(self) -> RSAKey:
        """A key that is not published."""
        return _SECOND_KEY


@contextmanager
def openid_provider() -> Iterator[OpenIdProvider]:
    """Runs a provider in a thread."""
    app = Flask(__name__)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    provider = OpenIdProvider(f"http://127.0.0.1:{server.server_port}")
    _add_routes(app, provider)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def respond(status: int, seconds: float = 0.0) -> Callable[[str], Response]:
    """A `before` that answers every request with a status, after a while."""

    def answer(path: str) -> Response:
        time.sleep(seconds)
        return Response("not what you asked for", status)

    return answer


def _add_routes(app: Flask, provider: OpenIdProvider) -> None:
    server = _authorization_server(app, provider)

    @app.before_request
    def observe() -> Response | None:
        provider.requests.append(request.path)
        return provider.before(request.path)

    @app.get("/.well-known/openid-configuration")
    def discovery() -> Response:
        return jsonify(
            {
                "issuer": provider.url,
                "authorization_endpoint": f"{provider.url}/authorize",
                "token_endpoint": f"{provider.url}/token",
                "jwks_uri": f"{provider.url}/keys",
                "end_session_endpoint": f"{provider.url}/end-session",
                "token_endpoint_auth_methods_supported": ["client_secret_basic"],
                **provider.discovery,
            }
        )

    @app.get("/keys")
    def keys() -> Response:
        return jsonify(provider.keys.as_dict(private=False))

    @app.get("/authorize")
    def page() -> str:
        return f'<!doctype html><title>Provider</title><link rel="icon" href="data:,"><form method="post"><button>Continue as {provider.subject}</button></form>'

    @app.post("/authorize")
    def authorize() -> Any:
        grant = server.get_consent_grant(end_user=provider.subject)
        return server.create_authorization_response(grant_user=provider.subject, grant=grant)

    @app.post("/token")
    def token() -> Any:
        return server.create_token_response()

    @app.get("/end-session")
    def end_session() -> Any:
        claims = jwt.decode(request.args["id_token_hint"], provider.key, algorithms=["RS256"]).claims
        assert claims["sub"] == provider.subject
        return redirect(request.args["post_logout_redirect_uri"])


def _authorization_server(app: Flask, provider: OpenIdProvider) -> Any:
    class CodeGrant(AuthorizationCodeGrant):  # type: ignore[misc]
        TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_basic",)

        def save_authorization_code(self, code: str, request: Any) -> None:
            data = request.payload.data
            provider.codes[code] = Code(
                code,
                request.user,
                request.payload.redirect_uri,
                request.payload.scope,
                data["nonce"],
                data["code_challenge"],
                data["code_challenge_method"],
            )

        def query_authorization_code(self, code: str, client: Client) -> Code | None:
            return provider.codes.get(code)

        def delete_authorization_code(self, code: Code) -> None:
            if not provider.reuse_codes:
                del provider.codes[code.code]

        def authenticate_user(self, code: Code) -> str:
            return code.subject

    class IdToken(OpenIDCode):  # type: ignore[misc]
        def exists_nonce(self, nonce: str, request: Any) -> bool:
            return any(code.nonce == nonce for code in provider.codes.values())

        def encode_id_token(self, token: Claims, request: Any) -> str:
            now = int(time.time())
            claims = {
                "iss": provider.url,
                "aud": CLIENT_ID,
                "sub": request.user,
                "iat": now,
                "exp": now + 300,
                "nonce": request.authorization_code.nonce,
                **provider.people.get(request.user, {}),
            }
            return provider.encode(claims)

    server = AuthorizationServer(
        app,
        query_client=lambda client_id: Client(provider.redirect_uris) if client_id == CLIENT_ID else None,
        save_token=lambda token, request: None,
    )
    server.register_grant(CodeGrant, [CodeChallenge(required=True), IdToken(require_nonce=True)])
    return server
