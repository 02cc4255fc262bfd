"""`ttm projects`: projects, their limits and their usage. Runs on the service's machine."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from cli.admin.database import VarOption, default_limits, open_database, record_change
from ttm_client.cli.output import JsonOption, print_json, print_rows

app = typer.Typer(
    help="List projects, set their limits and restrict their sources on the service's machine.", no_args_is_help=True
)
_VAR = Path("var")
# A name, usage and limit, or the sources of a restricted project by kind.
Cell = str | tuple[float, float | None] | dict[str, list[str]] | None
_Name = Annotated[str, typer.Argument(metavar="NAME", help="Lowercase letters, digits and dashes.")]
_Number = TypeVar("_Number", int, float)


def _parser(kind: type[_Number], most: _Number) -> Callable[[str], _Number]:
    """A parser of limits: numbers from 0 to `most`, and UNLIMITED for `none`."""

    def parse(text: str) -> _Number:
        if text == "none":
            from ttm_jobs.models.project import UNLIMITED

            return kind(UNLIMITED)
        with suppress(ValueError):
            if 0 <= (value := kind(text)) <= most:
                return value
        raise typer.BadParameter(f"give a number from 0 to {most:g}, or none for no limit")

    return parse


_LIMIT = "N|none"
_count, _bytes, _hours = _parser(int, 2**31 - 1), _parser(int, 2**62), _parser(float, 1e9)


@app.command("list")
def list_projects(json: JsonOption = False, var: VarOption = _VAR) -> None:
    """List projects with their usage and limits."""
    with open_database(var) as session:
        from ttm_jobs.repositories.access import projects, quotas

        defaults = default_limits(var)
        rows: list[dict[str, Cell]] = []
        for project in projects.list_all(session):
            used, limits = projects.usage(session, project.id), quotas.own_or_default(project, defaults)
            rows.append(
                {
                    "project": project.id,
                    "running_jobs": (used.running_jobs, limits.running_jobs),
                    "queued_jobs": (used.queued_jobs, limits.queued_jobs),
                    "stored_bytes": (used.stored_bytes, limits.stored_bytes),
                    "device_hours": (round(used.device_hours, 1), limits.device_hours),
                    "sources": project.sources,
                }
            )
    if json:
        print_json([{name: _as_json(cell) for name, cell in row.items()} for row in rows])
        return
    print_rows(
        ("PROJECT", "RUNNING", "QUEUED", "BYTES", "DEVICE HOURS", "SOURCES"),
        [[_as_text(cell) for cell in row.values()] for row in rows],
        wrapped=("SOURCES",),
    )


@app.command("set")
def set_limits(
    project: _Name,
    max_running_jobs: Annotated[
        int | None, typer.Option(parser=_count, metavar=_LIMIT, help="Jobs that run at the same time.")
    ] = None,
    max_queued_jobs: Annotated[int | None, typer.Option(parser=_count, metavar=_LIMIT, help="Queued jobs.")] = None,
    max_stored_bytes: Annotated[
        int | None, typer.Option(parser=_bytes, metavar=_LIMIT, help="Bytes of uploads, artifacts and checkpoints.")
    ] = None,
    max_device_hours: Annotated[
        float | None, typer.Option(parser=_hours, metavar=_LIMIT, help="Device hours of all ended attempts.")
    ] = None,
    json: JsonOption = False,
    var: VarOption = _VAR,
) -> None:
    """Set the limits of a project. Creates the project if it does not exist. `none` is no limit; an omitted limit
    becomes the default of the service (`TTM_PROJECT_MAX_QUEUED_JOBS` and others)."""
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
                "max_running_jobs": _as_option(max_running_jobs),
                "max_queued_jobs": _as_option(max_queued_jobs),
                "max_stored_bytes": _as_option(max_stored_bytes),
                "max_device_hours": _as_option(max_device_hours),
            }
        )


@app.command("restrict")
def restrict_sources(
    project: _Name,
    data_root: Annotated[
        list[Path] | None, typer.Option(help="Folder in TTM_DATA_ROOTS that jobs may read; may be repeated.")
    ] = None,
    origin: Annotated[
        list[str] | None, typer.Option(help="Host of TTM_ALLOWED_ORIGINS, as https://HOST; may be repeated.")
    ] = None,
    bucket: Annotated[
        list[str] | None, typer.Option(help="Bucket of TTM_ALLOWED_BUCKETS, as listed there; may be repeated.")
    ] = None,
    json: JsonOption = False,
    var: VarOption = _VAR,
) -> None:
    """Restrict the jobs of a project to these of the service's folders, hosts and buckets. Kinds that are omitted are
    not allowed at all. Creates the project if it does not exist.

    Queued jobs with other sources fail with `uri_not_allowed` when they start; running ones continue. Uploads, students
    of the project's jobs and the Hugging Face Hub stay allowed. `ttm projects unrestrict` allows all sources again.
    """
    if relative := [str(root) for root in data_root or () if not root.is_absolute()]:
        raise typer.BadParameter(f"give absolute paths, not {', '.join(relative)}", param_hint="--data-root")
    from ttm_jobs.uris import parse_origin

    try:
        origins = [parse_origin(each) for each in origin or ()]
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--origin") from None
    sources = {"data_roots": [*map(str, data_root or ())], "origins": origins, "buckets": [*(bucket or ())]}
    _set_sources(project, "projects_restrict", sources, json=json, var=var)


@app.command("unrestrict")
def unrestrict_sources(project: _Name, json: JsonOption = False, var: VarOption = _VAR) -> None:
    """Allow the jobs of a project all folders, hosts and buckets of the service, which is the default."""
    _set_sources(project, "projects_unrestrict", None, json=json, var=var)


def _set_sources(project: str, action: str, sources: dict[str, list[str]] | None, *, json: bool, var: Path) -> None:
    with open_database(var) as session:
        from ttm_jobs.repositories.access import projects

        projects.ensure(session, project).sources = sources
        record_change(session, action, project=project, name=project)
    if json:
        print_json({"project": project, "sources": sources})


def _as_option(limit: float | None) -> float | str | None:
    from ttm_jobs.models.project import UNLIMITED

    return "none" if limit == UNLIMITED else limit


def _as_json(cell: Cell) -> object:
    return {"used": cell[0], "limit": cell[1]} if isinstance(cell, tuple) else cell


def _as_text(cell: Cell) -> str:
    match cell:
        case str():
            return cell
        case None:
            return "all"
        case dict():
            return " ".join(each for listed in cell.values() for each in listed) or "none"
        case (used, None):
            return f"{used:g}"
        case (used, limit):
            return f"{used:g} of {limit:g}"
