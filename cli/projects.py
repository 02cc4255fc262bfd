"""`ttm projects`: the tenants, their limits and what they use. On the service's own machine."""

from pathlib import Path
from typing import Annotated

import typer

from cli.output import print_rows
from cli.record import VarOption, record

app = typer.Typer(help="List projects and set their limits, on the service's own machine.", no_args_is_help=True)
_VAR = Path("var")
Limit = Annotated[int | None, typer.Option(min=0, max=2**62)]


@app.command("list")
def list_projects(var: VarOption = _VAR) -> None:
    """List projects with what each uses of what it may."""
    with record(var) as session:
        from ttm_jobs.repositories import projects

        rows = []
        for project in projects.every(session):
            used = projects.usage(session, project.id)
            rows.append(
                (
                    project.id,
                    _of(used.running_jobs, project.max_running_jobs),
                    _of(used.queued_jobs, project.max_queued_jobs),
                    _of(used.stored_bytes, project.max_stored_bytes),
                    _of(round(used.device_hours, 1), project.max_device_hours),
                )
            )
    print_rows(("PROJECT", "RUNNING", "QUEUED", "BYTES", "DEVICE HOURS"), rows)


@app.command("set")
def set_limits(
    project: Annotated[str, typer.Argument(metavar="NAME")],
    max_running_jobs: Limit = None,
    max_queued_jobs: Limit = None,
    max_stored_bytes: Limit = None,
    max_device_hours: Annotated[float | None, typer.Option(min=0, max=1e9)] = None,
    var: VarOption = _VAR,
) -> None:
    """Set the limits of a project, which is made where there is none. A limit that is left out is none."""
    with record(var) as session:
        from ttm_jobs.repositories import projects

        row = projects.ensure(session, project)
        row.max_running_jobs = max_running_jobs
        row.max_queued_jobs = max_queued_jobs
        row.max_stored_bytes = max_stored_bytes
        row.max_device_hours = max_device_hours


def _of(used: float, limit: float | None) -> str:
    return f"{used:g}" if limit is None else f"{used:g} of {limit:g}"
