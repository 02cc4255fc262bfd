"""`ttm webhooks`: who is told of the project's jobs."""

import sys
from itertools import islice
from typing import Annotated

import typer

from ttm_client import Delivery, NewWebhook, Webhook
from ttm_client.cli.output import JsonOption, LimitOption, UrlOption, messages, moment, print_json, print_rows, service

app = typer.Typer(
    help="Have addresses told of the project's jobs; all but looking needs a key of scope admin.", no_args_is_help=True
)
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="As `ttm webhooks list` shows it.")]


@app.command()
def create(
    address: Annotated[str, typer.Argument(metavar="URL", help="https:// at a public address.")],
    event: Annotated[
        list[str] | None, typer.Option(help="What to be told of, such as job.failed; everything when left out.")
    ] = None,
    description: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """Make a webhook. Its secret is printed once, alone on standard output."""
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
            spare=("DESCRIPTION",),
        )


@app.command()
def enable(webhook_id: IdArgument, json: JsonOption = False, url: UrlOption = None) -> None:
    """Tell a webhook again, from now on."""
    _set(webhook_id, enabled=True, json=json, url=url)


@app.command()
def disable(webhook_id: IdArgument, json: JsonOption = False, url: UrlOption = None) -> None:
    """Tell a webhook nothing more."""
    _set(webhook_id, enabled=False, json=json, url=url)


@app.command()
def rotate(webhook_id: IdArgument, json: JsonOption = False, url: UrlOption = None) -> None:
    """Give a webhook a new secret; for a day messages are signed with the old one, too."""
    with service(url) as client:
        _secret(client.webhooks.rotate(webhook_id), json=json)


@app.command()
def ping(webhook_id: IdArgument, json: JsonOption = False, url: UrlOption = None) -> None:
    """Send a webhook.ping; `ttm webhooks deliveries` tells how that went."""
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
    """List what a webhook was told, newest first."""
    with service(url) as client:
        found = list(islice(client.webhooks.deliveries(webhook_id), limit))
    if json:
        print_json(found)
    else:
        print_rows(_COLUMNS, [_delivery(delivery) for delivery in found])


@app.command()
def delete(webhook_id: IdArgument, json: JsonOption = False, url: UrlOption = None) -> None:
    """Remove a webhook with the record of its deliveries."""
    with service(url) as client:
        client.webhooks.delete(webhook_id)
    if json:
        print_json({"id": webhook_id, "removed": True})


_COLUMNS = ("ID", "CREATED", "EVENT", "STATE", "TRIES", "ANSWER")


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
    messages.print(f"Webhook {made.id}. Keep the secret: it is shown this once.", highlight=False)


def _row(webhook: Webhook) -> tuple[str, ...]:
    state = "told" if webhook.enabled else f"disabled: {webhook.disabled_reason or 'by hand'}"
    if webhook.enabled and webhook.failing_since is not None:
        state = f"failing since {moment(webhook.failing_since)}"
    return webhook.id, webhook.url, ", ".join(webhook.events) or "all", state, webhook.description or ""


def _delivery(delivery: Delivery) -> tuple[str, ...]:
    answer = str(delivery.status) if delivery.status is not None else delivery.error or ""
    return delivery.id, moment(delivery.created_at), delivery.event, delivery.state, str(delivery.attempts), answer
