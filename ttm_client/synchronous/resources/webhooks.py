# From asynchronous/resources/webhooks.py by `python -m ttm_client.codegen.make_synchronous`: edit that.
"""Webhooks."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Unpack

import httpx2

from ttm_client.models.resources import Delivery, NewWebhook, Webhook
from ttm_client.options import WebhookChanges, as_time, texts
from ttm_client.protocol import segment
from ttm_client.references import delivery_id, webhook_id
from ttm_client.responses import read, read_field, read_items
from ttm_client.synchronous.paging import pages
from ttm_client.synchronous.transport import Transport


class Webhooks:
    """Manages webhooks. Every change needs an API key with the scope `admin`.

    >>> webhook = client.webhooks.create("https://hooks.example.org/ttm")
    >>> [each.url for each in client.webhooks.list()]
    ['https://hooks.example.org/ttm']
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, url: str, *, events: Sequence[str] = (), description: str | None = None) -> NewWebhook:
        """Creates a webhook for `events`, or for all events. Only this response contains the signing secret.

        Raises InvalidRequest for an address that the service refuses to send to.

        >>> webhook = client.webhooks.create("https://hooks.example.org/ttm", events=["job.failed"])
        >>> webhook.secret
        'whsec_...'
        """
        body = {"url": url, "events": texts(events, "events"), "description": description}
        return read(NewWebhook, self._send("POST", "", body, once=True))

    def list(self) -> Iterator[Webhook]:
        """Yields the project's webhooks, oldest first.

        >>> [webhook.url for webhook in client.webhooks.list()]
        []
        """
        yield from read_items(Webhook, self._send("GET", ""))

    def get(self, webhook: str | Webhook) -> Webhook:
        """Returns a webhook. Raises NotFound if it does not exist.

        >>> webhook = client.webhooks.create("https://hooks.example.org/ttm")
        >>> (client.webhooks.get(webhook.id)).failing_since is None
        True
        """
        return read(Webhook, self._send("GET", _path(webhook)))

    def update(self, webhook: str | Webhook, **changes: Unpack[WebhookChanges]) -> Webhook:
        """Changes `url`, `events`, `description` or `enabled`. Omitted fields keep their values.

        >>> webhook = client.webhooks.create("https://hooks.example.org/ttm")
        >>> changed = client.webhooks.update(webhook.id, enabled=False)
        >>> changed.enabled, changed.url
        (False, 'https://hooks.example.org/ttm')
        """
        return read(Webhook, self._send("PATCH", _path(webhook), _as_body(changes)))

    def delete(self, webhook: str | Webhook) -> None:
        """Deletes a webhook and its deliveries.

        >>> webhook = client.webhooks.create("https://hooks.example.org/ttm")
        >>> client.webhooks.delete(webhook.id)
        """
        self._send("DELETE", _path(webhook))

    def rotate(self, webhook: str | Webhook) -> NewWebhook:
        """Creates a new secret. For one day, messages are signed with the old secret as well.

        >>> webhook = client.webhooks.create("https://hooks.example.org/ttm")
        >>> (client.webhooks.rotate(webhook.id)).secret == webhook.secret
        False
        """
        return read(NewWebhook, self._send("POST", _path(webhook) + "/rotate"))

    def ping(self, webhook: str | Webhook) -> Delivery:
        """Sends a `webhook.ping`. The result appears in the deliveries within seconds.

        >>> webhook = client.webhooks.create("https://hooks.example.org/ttm")
        >>> (client.webhooks.ping(webhook.id)).event
        'webhook.ping'
        """
        return read(Delivery, self._send("POST", _path(webhook) + "/ping"))

    def deliveries(self, webhook: str | Webhook) -> Iterator[Delivery]:
        """Yields a webhook's deliveries, newest first. Pages are requested as needed.

        >>> webhook = client.webhooks.create("https://hooks.example.org/ttm")
        >>> delivery = client.webhooks.ping(webhook.id)
        >>> [each.id == delivery.id for each in client.webhooks.deliveries(webhook.id)]
        [True]
        """
        path = f"/webhooks{_path(webhook)}/deliveries"
        yield from pages(self._transport, Delivery, path, {"limit": 100})

    def redeliver(self, webhook: str | Webhook, delivery: str | Delivery) -> Delivery:
        """Sends a delivery again with the same id and body, whether or not it arrived.

        >>> webhook = client.webhooks.create("https://hooks.example.org/ttm")
        >>> delivery = client.webhooks.ping(webhook.id)
        >>> (client.webhooks.redeliver(webhook.id, delivery.id)).id == delivery.id
        True
        """
        path = f"{_path(webhook)}/deliveries/{segment(delivery_id(delivery))}/redeliver"
        return read(Delivery, self._send("POST", path))

    def replay(self, webhook: str | Webhook, *, since: datetime | str) -> int:
        """Sends the failed deliveries since a time again, with the same ids and bodies. Returns their number, at most
        1000.

        >>> from datetime import datetime, timezone
        >>> webhook = client.webhooks.create("https://hooks.example.org/ttm")
        >>> client.webhooks.replay(webhook.id, since=datetime(2027, 1, 1, tzinfo=timezone.utc))
        0
        """
        path = f"/webhooks{_path(webhook)}/replay"
        response = self._transport.request("POST", path, params={"since": as_time(since)})
        return int(read_field(response, "deliveries"))

    def _send(self, method: str, path: str, body: Any = None, *, once: bool = False) -> httpx2.Response:
        return self._transport.request(method, "/webhooks" + path, body=body, once=once)


def _as_body(changes: WebhookChanges) -> dict[str, Any]:
    return {name: texts(value, "events") if name == "events" else value for name, value in changes.items()}  # type: ignore[arg-type]


def _path(webhook: str | Webhook) -> str:
    return "/" + segment(webhook_id(webhook))
