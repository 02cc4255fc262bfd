"""Webhooks."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any, Unpack

import httpx2

from ttm_client.asynchronous.paging import pages
from ttm_client.asynchronous.transport import AsyncTransport
from ttm_client.models.resources import Delivery, NewWebhook, Webhook
from ttm_client.options import WebhookChanges, as_time, texts
from ttm_client.protocol import segment
from ttm_client.references import delivery_id, webhook_id
from ttm_client.responses import read, read_field, read_items


class AsyncWebhooks:
    """Manages webhooks. Every change needs an API key with the scope `admin`.

    >>> webhook = await client.webhooks.create("https://hooks.example.org/ttm")
    >>> [each.url async for each in client.webhooks.list()]
    ['https://hooks.example.org/ttm']
    """

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def create(self, url: str, *, events: Sequence[str] = (), description: str | None = None) -> NewWebhook:
        """Creates a webhook for `events`, or for all events. Only this response contains the signing secret.

        Raises InvalidRequest for an address that the service refuses to send to.

        >>> webhook = await client.webhooks.create("https://hooks.example.org/ttm", events=["job.failed"])
        >>> webhook.secret
        'whsec_...'
        """
        body = {"url": url, "events": texts(events, "events"), "description": description}
        return read(NewWebhook, await self._send("POST", "", body, once=True))

    async def list(self) -> AsyncIterator[Webhook]:
        """Yields the project's webhooks, oldest first.

        >>> [webhook.url async for webhook in client.webhooks.list()]
        []
        """
        for item in read_items(Webhook, await self._send("GET", "")):
            yield item

    async def get(self, webhook: str | Webhook) -> Webhook:
        """Returns a webhook. Raises NotFound if it does not exist.

        >>> webhook = await client.webhooks.create("https://hooks.example.org/ttm")
        >>> (await client.webhooks.get(webhook.id)).failing_since is None
        True
        """
        return read(Webhook, await self._send("GET", _path(webhook)))

    async def update(self, webhook: str | Webhook, **changes: Unpack[WebhookChanges]) -> Webhook:
        """Changes `url`, `events`, `description` or `enabled`. Omitted fields keep their values.

        >>> webhook = await client.webhooks.create("https://hooks.example.org/ttm")
        >>> changed = await client.webhooks.update(webhook.id, enabled=False)
        >>> changed.enabled, changed.url
        (False, 'https://hooks.example.org/ttm')
        """
        return read(Webhook, await self._send("PATCH", _path(webhook), _as_body(changes)))

    async def delete(self, webhook: str | Webhook) -> None:
        """Deletes a webhook and its deliveries.

        >>> webhook = await client.webhooks.create("https://hooks.example.org/ttm")
        >>> await client.webhooks.delete(webhook.id)
        """
        await self._send("DELETE", _path(webhook))

    async def rotate(self, webhook: str | Webhook) -> NewWebhook:
        """Creates a new secret. For one day, messages are signed with the old secret as well.

        >>> webhook = await client.webhooks.create("https://hooks.example.org/ttm")
        >>> (await client.webhooks.rotate(webhook.id)).secret == webhook.secret
        False
        """
        return read(NewWebhook, await self._send("POST", _path(webhook) + "/rotate"))

    async def ping(self, webhook: str | Webhook) -> Delivery:
        """Sends a `webhook.ping`. The result appears in the deliveries within seconds.

        >>> webhook = await client.webhooks.create("https://hooks.example.org/ttm")
        >>> (await client.webhooks.ping(webhook.id)).event
        'webhook.ping'
        """
        return read(Delivery, await self._send("POST", _path(webhook) + "/ping"))

    async def deliveries(self, webhook: str | Webhook) -> AsyncIterator[Delivery]:
        """Yields a webhook's deliveries, newest first. Pages are requested as needed.

        >>> webhook = await client.webhooks.create("https://hooks.example.org/ttm")
        >>> delivery = await client.webhooks.ping(webhook.id)
        >>> [each.id == delivery.id async for each in client.webhooks.deliveries(webhook.id)]
        [True]
        """
        path = f"/webhooks{_path(webhook)}/deliveries"
        async for item in pages(self._transport, Delivery, path, {"limit": 100}):
            yield item

    async def redeliver(self, webhook: str | Webhook, delivery: str | Delivery) -> Delivery:
        """Sends a delivery again with the same id and body, whether or not it arrived.

        >>> webhook = await client.webhooks.create("https://hooks.example.org/ttm")
        >>> delivery = await client.webhooks.ping(webhook.id)
        >>> (await client.webhooks.redeliver(webhook.id, delivery.id)).id == delivery.id
        True
        """
        path = f"{_path(webhook)}/deliveries/{segment(delivery_id(delivery))}/redeliver"
        return read(Delivery, await self._send("POST", path))

    async def replay(self, webhook: str | Webhook, *, since: datetime | str) -> int:
        """Sends the failed deliveries since a time again, with the same ids and bodies. Returns their number, at most
        1000.

        >>> from datetime import datetime, timezone
        >>> webhook = await client.webhooks.create("https://hooks.example.org/ttm")
        >>> await client.webhooks.replay(webhook.id, since=datetime(2027, 1, 1, tzinfo=timezone.utc))
        0
        """
        path = f"/webhooks{_path(webhook)}/replay"
        response = await self._transport.request("POST", path, params={"since": as_time(since)})
        return int(read_field(response, "deliveries"))

    async def _send(self, method: str, path: str, body: Any = None, *, once: bool = False) -> httpx2.Response:
        return await self._transport.request(method, "/webhooks" + path, body=body, once=once)


def _as_body(changes: WebhookChanges) -> dict[str, Any]:
    return {name: texts(value, "events") if name == "events" else value for name, value in changes.items()}  # type: ignore[arg-type]


def _path(webhook: str | Webhook) -> str:
    return "/" + segment(webhook_id(webhook))
