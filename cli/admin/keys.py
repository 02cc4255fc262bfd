"""`ttm keys`: API keys. Runs on the service's machine, because the first key cannot be created through the API."""

import sys
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cli.admin.database import VarOption, open_database, record_change
from ttm_client.cli.output import JsonOption, messages, print_json, print_rows

app = typer.Typer(help="Create, list and revoke API keys on the service's machine.", no_args_is_help=True)
_VAR = Path("var")


class ScopeName(StrEnum):
    MEASURE = "measure"
    READ = "read"
    SUBMIT = "submit"
    ADMIN = "admin"


@app.command()
def create(
    name: Annotated[str, typer.Option(help="Name of the key.")] = "unnamed",
    project: Annotated[str, typer.Option(help="Project of the key. Created if it does not exist.")] = "default",
    scope: Annotated[
        ScopeName,
        typer.Option(
            help="measure: only download and measure ONNX artifacts; read: read only; submit: also submit and change "
            "jobs; admin: also manage keys."
        ),
    ] = ScopeName.SUBMIT,
    days: Annotated[
        float | None, typer.Option(min=0.001, max=36_500, help="Days until the key expires. Default: never.")
    ] = None,
    json: JsonOption = False,
    var: VarOption = _VAR,
) -> None:
    """Create a key and print it to standard output. It is not shown again."""
    with open_database(var) as session:
        from ttm_jobs.database.clock import now
        from ttm_jobs.models import Scope
        from ttm_jobs.repositories.access import keys, projects

        # Once a key exists, anonymous requests are refused, so the first key must be able to create others.
        if scope is not ScopeName.ADMIN and not keys.any_valid(session):
            raise typer.BadParameter("The first key must have scope admin: add --scope admin.", param_hint="--scope")
        projects.ensure(session, project)
        expires_at = None if days is None else now(session) + timedelta(days=days)
        made = keys.create(session, project_id=project, name=name, scope=Scope(scope.value), expires_at=expires_at)
        record_change(session, "keys_create", project=project, name=made.key.id)
        created = {"id": made.key.id, "secret": made.secret}
    if json:
        print_json(created)
        return
    sys.stdout.write(made.secret + "\n")
    messages.print("Store the key: it is not shown again. Clients read it from TTM_API_KEY.", highlight=False)


@app.command("list")
def list_keys(
    project: Annotated[str | None, typer.Option(help="Only keys of this project.")] = None,
    json: JsonOption = False,
    var: VarOption = _VAR,
) -> None:
    """List keys, oldest first."""
    with open_database(var) as session:
        from ttm_jobs.repositories.access import keys

        rows = [
            {
                "id": key.id,
                "key": key.prefix,
                "project": key.project_id,
                "name": key.name,
                "scope": key.scope.value,
                "created": key.created_at,
                "expires": key.expires_at,
                "revoked": key.revoked_at,
                "used": key.last_used_at,
            }
            for key in keys.list_all(session, project_id=project)
        ]
    if json:
        print_json(rows)
        return
    columns = ("id", "key", "project", "name", "scope", "created", "expires", "revoked", "used")
    print_rows(
        [column.upper() for column in columns],
        [[_cell(row[column]) for column in columns] for row in rows],
        optional=("CREATED", "USED", "EXPIRES", "KEY", "PROJECT"),
    )


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the key; see `ttm keys list`.")],
    json: JsonOption = False,
    var: VarOption = _VAR,
) -> None:
    """Revoke a key. Running processes refuse it within five seconds."""
    with open_database(var) as session:
        from ttm_jobs.repositories.access import keys

        key = keys.revoke(session, key_id)
        record_change(session, "keys_revoke", project=key.project_id, name=key.id)
    if json:
        print_json({"id": key_id, "revoked": True})


@app.command("delete-all")
def delete_all(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    json: JsonOption = False,
    var: VarOption = _VAR,
) -> None:
    """Delete all keys. A service on a loopback address then accepts requests without a key again."""
    if not yes:
        typer.confirm("Delete all keys of all projects? Local requests then need no key.", abort=True, err=True)
    with open_database(var) as session:
        from ttm_jobs.repositories.access import keys

        for project in sorted({key.project_id for key in keys.list_all(session)}):
            record_change(session, "keys_delete_all", project=project, name=None)
        count = keys.delete_all(session)
    if json:
        print_json({"deleted": count})
    else:
        messages.print(f"{count} keys deleted", highlight=False)


def _cell(value: object) -> str:
    """Times are shown to the day."""
    return f"{value:%Y-%m-%d}" if isinstance(value, datetime) else "" if value is None else str(value)
