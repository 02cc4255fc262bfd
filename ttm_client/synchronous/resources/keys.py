# From asynchronous/resources/keys.py by `python -m ttm_client.codegen.make_synchronous`: edit that.
"""API keys."""

from collections.abc import Iterator
from datetime import datetime

from ttm_client.models.resources import Key, NewKey
from ttm_client.options import KeyScope, as_time
from ttm_client.protocol import segment
from ttm_client.references import key_id
from ttm_client.responses import read, read_items
from ttm_client.synchronous.transport import Transport


class Keys:
    """Creates, lists and revokes API keys of the project. Needs an API key with the scope `admin`.

    `ttm keys create` creates the first key on the service's machine. Until a key exists, a service on a loopback
    address requires none.

    >>> [key.name for key in client.keys.list()]
    []
    >>> key = client.keys.create("notebooks", scope="admin")
    >>> with Client(api_key=key.secret) as client_with_key:
    ...     print((client_with_key.usage()).queued_jobs)
    1
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, name: str, *, scope: KeyScope = "submit", expires_at: datetime | str | None = None) -> NewKey:
        """Creates a key. Only this response contains the secret. `expires_at` needs a time zone; without it, the key
        never expires.

        Raises InvalidRequest for a time in the past.

        >>> (client.keys.create("nightly", scope="admin")).secret
        'ttm_...'
        """
        body = {"name": name, "scope": scope, "expires_at": None if expires_at is None else as_time(expires_at)}
        response = self._transport.request("POST", "/keys", body=body)
        return read(NewKey, response)

    def list(self) -> Iterator[Key]:
        """Yields the project's keys, oldest first, including revoked and expired ones.

        >>> key = client.keys.create("nightly", scope="admin")
        >>> with Client(api_key=key.secret) as client_with_key:
        ...     print([(each.name, each.revoked_at) for each in client_with_key.keys.list()])
        [('nightly', None)]
        """
        response = self._transport.request("GET", "/keys")
        yield from read_items(Key, response)

    def revoke(self, key: str | Key) -> None:
        """Revokes a key immediately. Raises NotFound if it does not exist.

        >>> key = client.keys.create("nightly", scope="admin")
        >>> with Client(api_key=key.secret) as client_with_key:
        ...     client_with_key.keys.revoke(key.id)
        """
        self._transport.request("DELETE", "/keys/" + segment(key_id(key)))
