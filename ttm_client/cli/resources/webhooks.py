"""`ttm webhooks`."""

import sys
from datetime import datetime
from itertools import islice
from typing import Annotated

import typer

from ttm_client import Delivery, NewWebhook, Webhook
from ttm_client.cli.output import (
    JsonOption,
    LimitOption,
    UrlOption,
    local_time,
    messages,
    print_json,
    print_rows,
    service,
)

app = typer.Typer(help="Manage webhooks. Changes need an API key with the scope admin.", no_args_is_help=True)
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="Id of the webhook; see `ttm webhooks list`.")]


@app.command()
def create(
    address: Annotated[str, typer.Argument(metavar="URL", help="https:// URL with a public address.")],
    event: Annotated[
        list[str] | None, typer.Option(help="Event to send, for example job.failed. Repeatable. Default: all events.")
    ] = None,
    description: Annotated[str | None, typer.Option(help="Description.")] = None,
    json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """Create a webhook and print its secret to standard output. The secret is not shown again."""
    with service(url) as client:
        _secret(client.webhooks.create(address, events=event or (), description=description), json=json)


@app.command("list")
def list_webhooks(json: JsonOption = False, url: UrlOption = None) -> None:
    """List the webhooks, oldest first."""
    with service(url) as client:
        found = list(client.webhooks.list())
    if json:
        print_json(found)
    else:
        print_rows(
            ("ID", "URL", "EVENTS", "STATE", "DESCRIPTION"),
            [_row(webhook) for webhook in found],
            optional=("DESCRIPTION",),
        )


@app.command()
def enable(webhook_id: IdArgument, json: JsonOption = False, url: UrlOption = None) -> None:
    """Enable a webhook."""
    _set(webhook_id, enabled=True, json=json, url=url)


@app.command()
def disable(webhook_id: IdArgument, json: JsonOption = False, url: UrlOption = None) -> None:
    """Disable a webhook."""
    _set(webhook_id, enabled=False, json=json, url=url)


@app.command()
def rotate(webhook_id: IdArgument, json: JsonOption = False, url: UrlOption = None) -> None:
    """Create a new secret. For one day, messages are signed with the old secret as well."""
    with service(url) as client:
        _secret(client.webhooks.rotate(webhook_id), json=json)


@app.command()
def ping(webhook_id: IdArgument, json: JsonOption = False, url: UrlOption = None) -> None:
    """Send a webhook.ping. `ttm webhooks deliveries` shows the result."""
    with service(url) as client:
        delivery = client.webhooks.ping(webhook_id)
    if json:
        print_json(delivery)
    else:
        print_rows(_COLUMNS, [_delivery(delivery)])


@app.command()
def deliveries(
    webhook_id: IdArgument,
    limit: LimitOption = 20,
    json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """List the deliveries of a webhook, newest first."""
    with service(url) as client:
        found = list(islice(client.webhooks.deliveries(webhook_id), limit))
    if json:
        print_json(found)
    else:
        print_rows(_COLUMNS, [_delivery(delivery) for delivery in found])


@app.command()
def redeliver(
    webhook_id: IdArgument,
    delivery_id: Annotated[str, typer.Argument(metavar="DELIVERY", help="Id of the delivery.")],
    json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """Send a delivery again with the same id and body, whether or not it arrived."""
    with service(url) as client:
        delivery = client.webhooks.redeliver(webhook_id, delivery_id)
    if json:
        print_json(delivery)
    else:
        print_rows(_COLUMNS, [_delivery(delivery)])


@app.command()
def replay(
    webhook_id: IdArgument,
    since: Annotated[
        datetime, typer.Option(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"], help="Start of the outage, in local time.")
    ],
    json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """Send the failed deliveries since a time again, at most 1000, and print their number."""
    with service(url) as client:
        number = client.webhooks.replay(webhook_id, since=since.astimezone())
    if json:
        print_json({"id": webhook_id, "deliveries": number})
    else:
        sys.stdout.write(f"{number}\n")


@app.command()
def delete(webhook_id: IdArgument, json: JsonOption = False, url: UrlOption = None) -> None:
    """Delete a webhook and its deliveries."""
    with service(url) as client:
        client.webhooks.delete(webhook_id)
    if json:
        print_json({"id": webhook_id, "deleted": True})


_COLUMNS = ("ID", "CREATED", "EVENT", "STATE", "ATTEMPTS", "RESPONSE")


def _set(webhook_id: str, *, enabled: bool, json: bool, url: str | None) -> None:
    with service(url) as client:
        webhook = client.webhooks.update(webhook_id, enabled=enabled)
    if json:
        print_json(webhook)


def _secret(made: NewWebhook, *, json: bool) -> None:
    if json:
        print_json(made)
        return
    sys.stdout.write(made.secret + "\n")
    messages.print(f"Webhook {made.id}. Store the secret: it is not shown again.", highlight=False)


def _row(webhook: Webhook) -> tuple[str, ...]:
    state = "enabled" if webhook.enabled else f"disabled: {webhook.disabled_reason or 'manually'}"
    if webhook.enabled and webhook.failing_since is not None:
        state = f"failing since {local_time(webhook.failing_since)}"
    return webhook.id, webhook.url, ", ".join(webhook.events) or "all", state, webhook.description or ""


def _delivery(delivery: Delivery) -> tuple[str, ...]:
    answer = str(delivery.status) if delivery.status is not None else delivery.error or ""
    return delivery.id, local_time(delivery.created_at), delivery.event, delivery.state, str(delivery.attempts), answer
