# Generated from asynchronous/resources/keys.py by `python -m ttm_client.codegen.make_synchronous`: edit that file.
"""Who may ask the service on the project's behalf."""

import json
from collections.abc import Iterator
from datetime import datetime
from urllib.parse import quote

from ttm_client.models.resources import Key, NewKey
from ttm_client.options import KeyScope
from ttm_client.synchronous.transport import Transport


class Keys:
    """Makes, lists and revokes the project's keys, with a key of scope admin. `ttm keys create` makes the first one on
    the service's own machine; until there is one, a service on loopback asks for none.

    >>> [key.name for key in client.keys.list()]
    []
    >>> key = client.keys.create("notebooks")
    >>> with Client(api_key=key.secret) as mine:
    ...     print((mine.usage()).queued_jobs)
    1
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, name: str, *, scope: KeyScope = "submit", expires_at: datetime | None = None) -> NewKey:
        """Make a key; the answer alone holds its secret. `expires_at` bears its zone; a key without one never expires.

        InvalidRequest for a time that has passed.

        >>> (client.keys.create("nightly", scope="read")).secret
        'ttm_...'
        """
        body = {"name": name, "scope": scope, "expires_at": expires_at and expires_at.isoformat()}
        response = self._transport.request("POST", "/keys", body=body)
        return NewKey.model_validate_json(response.content)

    def list(self) -> Iterator[Key]:
        """The project's keys, oldest first, those revoked or expired too.

        >>> key = client.keys.create("nightly", scope="admin")
        >>> with Client(api_key=key.secret) as mine:
        ...     print([(each.name, each.revoked_at) for each in mine.keys.list()])
        [('nightly', None)]
        """
        response = self._transport.request("GET", "/keys")
        for item in json.loads(response.content)["items"]:
            yield Key.model_validate(item)

    def revoke(self, key_id: str) -> None:
        """Have the service refuse a key from now on; NotFound if there is none.

        >>> key = client.keys.create("nightly", scope="admin")
        >>> with Client(api_key=key.secret) as mine:
        ...     mine.keys.revoke(key.id)
        """
        self._transport.request("DELETE", "/keys/" + quote(key_id, safe=""))
