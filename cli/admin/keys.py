"""`ttm keys`: who may ask. On the service's own machine, since the first key can be made nowhere else."""

import sys
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cli.admin.database import VarOption, record
from ttm_client.cli.output import JsonOption, messages, print_json, print_rows

app = typer.Typer(help="Make, list and revoke API keys, on the service's own machine.", no_args_is_help=True)
_VAR = Path("var")


class ScopeName(StrEnum):
    READ = "read"
    SUBMIT = "submit"
    ADMIN = "admin"


@app.command()
def create(
    name: Annotated[str, typer.Option(help="Whose key it is.")] = "unnamed",
    project: Annotated[str, typer.Option(help="Project it belongs to; made where there is none.")] = "default",
    scope: Annotated[
        ScopeName, typer.Option(help="read: look; submit: also submit and change jobs; admin: also keys.")
    ] = ScopeName.SUBMIT,
    days: Annotated[float | None, typer.Option(min=0.001, max=36_500, help="Expires after so many days.")] = None,
    json: JsonOption = False,
    var: VarOption = _VAR,
) -> None:
    """Make a key. It is printed once, alone on standard output."""
    with record(var) as session:
        from ttm_jobs.database.clock import now
        from ttm_jobs.models import Scope
        from ttm_jobs.repositories.access import keys, projects

        projects.ensure(session, project)
        expires_at = None if days is None else now(session) + timedelta(days=days)
        made = keys.create(session, project_id=project, name=name, scope=Scope(scope.value), expires_at=expires_at)
        told = {"id": made.key.id, "secret": made.secret}
    if json:
        print_json(told)
        return
    sys.stdout.write(made.secret + "\n")
    messages.print("Keep it: it is shown this once. Clients read it from TTM_API_KEY.", highlight=False)


@app.command("list")
def list_keys(
    project: Annotated[str | None, typer.Option(help="Only this project's.")] = None,
    json: JsonOption = False,
    var: VarOption = _VAR,
) -> None:
    """List keys, oldest first."""
    with record(var) as session:
        from ttm_jobs.repositories.access import keys

        rows = [
            {
                "id": key.id,
                "key": key.prefix,
                "project": key.project_id,
                "name": key.name,
                "scope": key.scope.value,
                "made": key.created_at,
                "expires": key.expires_at,
                "revoked": key.revoked_at,
                "used": key.last_used_at,
            }
            for key in keys.every(session, project_id=project)
        ]
    if json:
        print_json(rows)
        return
    columns = ("id", "key", "project", "name", "scope", "made", "expires", "revoked", "used")
    print_rows([column.upper() for column in columns], [[_cell(row[column]) for column in columns] for row in rows])


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="As `ttm keys list` shows it.")],
    json: JsonOption = False,
    var: VarOption = _VAR,
) -> None:
    """Revoke a key; running processes refuse it within five seconds."""
    with record(var) as session:
        from ttm_jobs.repositories.access import keys

        keys.revoke(session, key_id)
    if json:
        print_json({"id": key_id, "revoked": True})


def _cell(value: object) -> str:
    """A day is enough to look at."""
    return f"{value:%Y-%m-%d}" if isinstance(value, datetime) else "" if value is None else str(value)
