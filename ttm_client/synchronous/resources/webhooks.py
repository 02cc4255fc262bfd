# Generated from asynchronous/resources/webhooks.py by `python -m ttm_client.codegen.make_synchronous`: edit that file.
"""Addresses that are told of the project's jobs."""

import json
from collections.abc import Iterator, Sequence
from typing import Any, Unpack
from urllib.parse import quote

from ttm_client.models.resources import Delivery, NewWebhook, Webhook
from ttm_client.options import WebhookChanges
from ttm_client.synchronous.paging import pages
from ttm_client.synchronous.transport import Transport


class Webhooks:
    """Has the service tell addresses of the project's jobs. All but looking needs a key of scope admin.

    >>> webhook = client.webhooks.create("https://hooks.example.org/ttm")
    >>> [each.url for each in client.webhooks.list()]
    ['https://hooks.example.org/ttm']
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, url: str, *, events: Sequence[str] = (), description: str | None = None) -> NewWebhook:
        """Have an address told of `events`, or of everything; the answer alone holds the secret that signs messages.

        InvalidRequest for an address that the service would never write to.

        >>> webhook = client.webhooks.create("https://hooks.example.org/ttm", events=["job.failed"])
        >>> webhook.secret
        'whsec_...'
        """
        body = {"url": url, "events": [*events], "description": description}
        return NewWebhook.model_validate_json(self._ask("POST", "", body, once=True))

    def list(self) -> Iterator[Webhook]:
        """The project's webhooks, oldest first.

        >>> [webhook.url for webhook in client.webhooks.list()]
        []
        """
        for item in json.loads(self._ask("GET", ""))["items"]:
            yield Webhook.model_validate(item)

    def get(self, webhook_id: str) -> Webhook:
        """A webhook by its id; NotFound if there is none.

        >>> webhook = client.webhooks.create("https://hooks.example.org/ttm")
        >>> (client.webhooks.get(webhook.id)).failing_since is None
        True
        """
        return Webhook.model_validate_json(self._ask("GET", _path(webhook_id)))

    def update(self, webhook_id: str, **changes: Unpack[WebhookChanges]) -> Webhook:
        """Change `url`, `events`, `description` or `enabled`; what is not given stays.

        >>> webhook = client.webhooks.create("https://hooks.example.org/ttm")
        >>> changed = client.webhooks.update(webhook.id, enabled=False)
        >>> changed.enabled, changed.url
        (False, 'https://hooks.example.org/ttm')
        """
        return Webhook.model_validate_json(self._ask("PATCH", _path(webhook_id), changes))

    def delete(self, webhook_id: str) -> None:
        """Remove a webhook with the record of its deliveries.

        >>> webhook = client.webhooks.create("https://hooks.example.org/ttm")
        >>> client.webhooks.delete(webhook.id)
        """
        self._ask("DELETE", _path(webhook_id))

    def rotate(self, webhook_id: str) -> NewWebhook:
        """Give a webhook a new secret; for a day messages are signed with the old one, too.

        >>> webhook = client.webhooks.create("https://hooks.example.org/ttm")
        >>> (client.webhooks.rotate(webhook.id)).secret == webhook.secret
        False
        """
        return NewWebhook.model_validate_json(self._ask("POST", _path(webhook_id) + "/rotate"))

    def ping(self, webhook_id: str) -> Delivery:
        """Send a `webhook.ping`; how that went is among the deliveries within seconds.

        >>> webhook = client.webhooks.create("https://hooks.example.org/ttm")
        >>> (client.webhooks.ping(webhook.id)).event
        'webhook.ping'
        """
        return Delivery.model_validate_json(self._ask("POST", _path(webhook_id) + "/ping"))

    def deliveries(self, webhook_id: str) -> Iterator[Delivery]:
        """What a webhook was told, newest first; pages are fetched as needed.

        >>> webhook = client.webhooks.create("https://hooks.example.org/ttm")
        >>> delivery = client.webhooks.ping(webhook.id)
        >>> [each.id == delivery.id for each in client.webhooks.deliveries(webhook.id)]
        [True]
        """
        path = f"/webhooks{_path(webhook_id)}/deliveries"
        for item in pages(self._transport, path, {"limit": 100}):
            yield Delivery.model_validate(item)

    def _ask(self, method: str, path: str, body: Any = None, *, once: bool = False) -> bytes:
        response = self._transport.request(method, "/webhooks" + path, body=body, once=once)
        return response.content


def _path(webhook_id: str) -> str:
    return "/" + quote(webhook_id, safe="")
