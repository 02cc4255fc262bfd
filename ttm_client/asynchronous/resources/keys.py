"""API keys."""

from collections.abc import AsyncIterator
from datetime import datetime

from ttm_client.asynchronous.transport import AsyncTransport
from ttm_client.models.resources import Key, NewKey
from ttm_client.options import KeyScope, as_time
from ttm_client.protocol import segment
from ttm_client.references import key_id
from ttm_client.responses import read, read_items


class AsyncKeys:
    """Creates, lists and revokes API keys of the project. Needs an API key with the scope `admin`.

    `ttm keys create` creates the first key on the service's machine. Until a key exists, a service on a loopback
    address requires none.

    >>> [key.name async for key in client.keys.list()]
    []
    >>> key = await client.keys.create("notebooks", scope="admin")
    >>> async with AsyncClient(api_key=key.secret) as client_with_key:
    ...     print((await client_with_key.usage()).queued_jobs)
    1
    """

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def create(
        self, name: str, *, scope: KeyScope = "submit", expires_at: datetime | str | None = None
    ) -> NewKey:
        """Creates a key. Only this response contains the secret. `expires_at` needs a time zone; without it, the key
        never expires.

        Raises InvalidRequest for a time in the past.

        >>> (await client.keys.create("nightly", scope="admin")).secret
        'ttm_...'
        """
        body = {"name": name, "scope": scope, "expires_at": None if expires_at is None else as_time(expires_at)}
        response = await self._transport.request("POST", "/keys", body=body)
        return read(NewKey, response)

    async def list(self) -> AsyncIterator[Key]:
        """Yields the project's keys, oldest first, including revoked and expired ones.

        >>> key = await client.keys.create("nightly", scope="admin")
        >>> async with AsyncClient(api_key=key.secret) as client_with_key:
        ...     print([(each.name, each.revoked_at) async for each in client_with_key.keys.list()])
        [('nightly', None)]
        """
        response = await self._transport.request("GET", "/keys")
        for item in read_items(Key, response):
            yield item

    async def revoke(self, key: str | Key) -> None:
        """Revokes a key immediately. Raises NotFound if it does not exist.

        >>> key = await client.keys.create("nightly", scope="admin")
        >>> async with AsyncClient(api_key=key.secret) as client_with_key:
        ...     await client_with_key.keys.revoke(key.id)
        """
        await self._transport.request("DELETE", "/keys/" + segment(key_id(key)))
