"""Checks ID tokens: signature, algorithm, issuer, audience, times and nonce (OpenID Connect Core, section 3.1.3.7)."""

from collections.abc import Mapping
from typing import Any

from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import ECKey, KeySet, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from api.auth.oidc.errors import SignInRefused

# Asymmetric only: with a shared secret, or with the public key taken as one, anybody who knows it could sign.
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519"]
_MAX_TOKEN_CHARACTERS = 64 * 1024
_MAX_KEYS = 100
_CLOCK_SKEW_SECONDS = 60


class UnknownKey(Exception):
    """No published key has the token's key id. The provider may have new keys."""


def public_keys(document: Mapping[str, Any]) -> KeySet:
    """The public keys of a JWKS document. Keys of unknown kinds and symmetric keys are omitted. Raises ValueError."""
    listed = document.get("keys")
    if not isinstance(listed, list) or len(listed) > _MAX_KEYS:
        raise ValueError(f"the key set lists no keys, or more than {_MAX_KEYS}")
    keys: list[OctKey | RSAKey | ECKey | OKPKey] = []
    for entry in listed:
        try:
            imported = KeySet.import_key_set({"keys": [entry]}).keys
        except (JoseError, ValueError, TypeError, KeyError, AttributeError):
            continue
        keys += [key for key in imported if not isinstance(key, OctKey)]
    return KeySet(keys)


def check(
    token: str, keys: KeySet, *, issuer: str, client_id: str, nonce: str, access_token: str | None
) -> Mapping[str, Any]:
    """The claims of a valid ID token. Raises SignInRefused, or UnknownKey before any other check."""
    if len(token) > _MAX_TOKEN_CHARACTERS:
        raise SignInRefused("The ID token is too long.")
    registry = JWSRegistry(algorithms=ALGORITHMS, strict_check_header=False)
    # The token may carry many groups: the limit above replaces the library's.
    registry.max_header_length = registry.max_payload_length = _MAX_TOKEN_CHARACTERS
    try:
        decoded = jwt.decode(token, keys, registry=registry)
        claims = CodeIDToken(
            decoded.claims,
            decoded.header,
            {
                "iss": {"essential": True, "value": issuer},
                "aud": {"essential": True, "value": client_id},
                "nonce": {"essential": True, "value": nonce},
            },
            {"nonce": nonce, "client_id": client_id, "access_token": access_token},
        )
        claims.validate(leeway=_CLOCK_SKEW_SECONDS)
    except InvalidKeyIdError as error:
        raise UnknownKey from error
    except (JoseError, ValueError, TypeError, AttributeError) as error:
        raise SignInRefused(f"The ID token is not valid: {error}.") from error
    return decoded.claims
