"""Who may ask the service on the project's behalf."""

import json
from collections.abc import AsyncIterator
from datetime import datetime
from urllib.parse import quote

from ttm_client.asynchronous.transport import AsyncTransport
from ttm_client.models.resources import Key, NewKey
from ttm_client.options import KeyScope


class AsyncKeys:
    """Makes, lists and revokes the project's keys, with a key of scope admin. `ttm keys create` makes the first one on
    the service's own machine; until there is one, a service on loopback asks for none.

    >>> [key.name async for key in client.keys.list()]
    []
    >>> key = await client.keys.create("notebooks")
    >>> async with AsyncClient(api_key=key.secret) as mine:
    ...     print((await mine.usage()).queued_jobs)
    1
    """

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def create(self, name: str, *, scope: KeyScope = "submit", expires_at: datetime | None = None) -> NewKey:
        """Make a key; the answer alone holds its secret. `expires_at` bears its zone; a key without one never expires.

        InvalidRequest for a time that has passed.

        >>> (await client.keys.create("nightly", scope="read")).secret
        'ttm_...'
        """
        body = {"name": name, "scope": scope, "expires_at": expires_at and expires_at.isoformat()}
        response = await self._transport.request("POST", "/keys", body=body)
        return NewKey.model_validate_json(response.content)

    async def list(self) -> AsyncIterator[Key]:
        """The project's keys, oldest first, those revoked or expired too.

        >>> key = await client.keys.create("nightly", scope="admin")
        >>> async with AsyncClient(api_key=key.secret) as mine:
        ...     print([(each.name, each.revoked_at) async for each in mine.keys.list()])
        [('nightly', None)]
        """
        response = await self._transport.request("GET", "/keys")
        for item in json.loads(response.content)["items"]:
            yield Key.model_validate(item)

    async def revoke(self, key_id: str) -> None:
        """Have the service refuse a key from now on; NotFound if there is none.

        >>> key = await client.keys.create("nightly", scope="admin")
        >>> async with AsyncClient(api_key=key.secret) as mine:
        ...     await mine.keys.revoke(key.id)
        """
        await self._transport.request("DELETE", "/keys/" + quote(key_id, safe=""))
