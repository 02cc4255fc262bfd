"""Webhook signatures as in Standard Webhooks (https://www.standardwebhooks.com)."""

import base64
import hmac
import secrets
from collections.abc import Sequence
from hashlib import sha256

_PREFIX = "whsec_"
_BYTES = 32


def new_secret() -> str:
    """Returns a new signing secret."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(_BYTES)).decode()


def signed(keys: Sequence[str], message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Returns the signature headers of a message, with one signature per secret."""
    content = f"{message_id}.{timestamp}.".encode() + body
    signatures = [f"v1,{_signature(secret, content)}" for secret in keys]
    return {"webhook-id": message_id, "webhook-timestamp": str(timestamp), "webhook-signature": " ".join(signatures)}


def _signature(secret: str, content: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(_PREFIX))
    return base64.b64encode(hmac.new(key, content, sha256).digest()).decode()
