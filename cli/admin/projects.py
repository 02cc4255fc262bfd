"""`ttm projects`: projects, their limits and their usage. Runs on the service's machine."""

from pathlib import Path
from typing import Annotated

import typer

from cli.admin.database import VarOption, open_database, record_change
from ttm_client.cli.output import JsonOption, print_json, print_rows

app = typer.Typer(help="List projects and set their limits on the service's machine.", no_args_is_help=True)
_VAR = Path("var")
# A name, or usage and limit.
Cell = str | tuple[float, float | None]
Limit = Annotated[int | None, typer.Option(min=0, max=2**62)]


@app.command("list")
def list_projects(json: JsonOption = False, var: VarOption = _VAR) -> None:
    """List projects with their usage and limits."""
    with open_database(var) as session:
        from ttm_jobs.repositories.access import projects

        rows: list[dict[str, Cell]] = []
        for project in projects.list_all(session):
            used = projects.usage(session, project.id)
            rows.append(
                {
                    "project": project.id,
                    "running_jobs": (used.running_jobs, project.max_running_jobs),
                    "queued_jobs": (used.queued_jobs, project.max_queued_jobs),
                    "stored_bytes": (used.stored_bytes, project.max_stored_bytes),
                    "device_hours": (round(used.device_hours, 1), project.max_device_hours),
                }
            )
    if json:
        print_json([{name: _as_json(cell) for name, cell in row.items()} for row in rows])
        return
    print_rows(
        ("PROJECT", "RUNNING", "QUEUED", "BYTES", "DEVICE HOURS"),
        [[cell if isinstance(cell, str) else _usage(*cell) for cell in row.values()] for row in rows],
    )


@app.command("set")
def set_limits(
    project: Annotated[str, typer.Argument(metavar="NAME", help="Lowercase letters, digits and dashes.")],
    max_running_jobs: Limit = None,
    max_queued_jobs: Limit = None,
    max_stored_bytes: Limit = None,
    max_device_hours: Annotated[float | None, typer.Option(min=0, max=1e9)] = None,
    json: JsonOption = False,
    var: VarOption = _VAR,
) -> None:
    """Set the limits of a project. Creates the project if it does not exist. An omitted limit is removed."""
    with open_database(var) as session:
        from ttm_jobs.repositories.access import projects

        row = projects.ensure(session, project)
        row.max_running_jobs = max_running_jobs
        row.max_queued_jobs = max_queued_jobs
        row.max_stored_bytes = max_stored_bytes
        row.max_device_hours = max_device_hours
        record_change(session, "projects_set", project=project, name=project)
    if json:
        print_json(
            {
                "project": project,
                "max_running_jobs": max_running_jobs,
                "max_queued_jobs": max_queued_jobs,
                "max_stored_bytes": max_stored_bytes,
                "max_device_hours": max_device_hours,
            }
        )


def _as_json(cell: Cell) -> object:
    return cell if isinstance(cell, str) else {"used": cell[0], "limit": cell[1]}


def _usage(used: float, limit: float | None) -> str:
    return f"{used:g}" if limit is None else f"{used:g} of {limit:g}"
