"""`ttm audit`."""

from datetime import UTC, datetime
from itertools import islice
from typing import Annotated

import typer

from ttm_client.cli.output import JsonOption, LimitOption, UrlOption, local_time, print_json, print_rows, service

_After = Annotated[datetime | None, typer.Option(help="Only changes after this time in UTC.")]
_Before = Annotated[datetime | None, typer.Option(help="Only changes before this time in UTC.")]


def audit(
    actor: Annotated[str | None, typer.Option(help="Only changes by the key or person with this id or name.")] = None,
    action: Annotated[str | None, typer.Option(help="Only this operation, such as jobs_cancel.")] = None,
    target: Annotated[str | None, typer.Option("--object", help="Only changes of the object with this id.")] = None,
    after: _After = None,
    before: _Before = None,
    limit: LimitOption = 20,
    json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """List who changed what, newest first. Requires scope admin."""
    with service(url) as client:
        entries = client.audit.list(
            actor=actor,
            action=action,
            object=target,
            after=after and after.replace(tzinfo=UTC),
            before=before and before.replace(tzinfo=UTC),
        )
        found = list(islice(entries, limit))
    if json:
        print_json(found)
        return
    rows = [
        (local_time(each.created_at), each.actor or "-", each.action, each.object or "-", each.address or "-")
        for each in found
    ]
    print_rows(("TIME", "WHO", "ACTION", "OBJECT", "ADDRESS"), rows, optional=("ADDRESS",), whole=("OBJECT",))
