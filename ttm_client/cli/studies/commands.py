"""`ttm study`: list, show, front, candidates, download, replay, control and delete."""

from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from ttm_client.cli.output import (
    EXIT_CODES,
    FAILED,
    JsonOption,
    LimitOption,
    UrlOption,
    YesOption,
    console,
    delete_confirmed,
    fail,
    print_json,
    print_rows,
    service,
    transfer,
)
from ttm_client.cli.resources.views import ViewOption, filters_of
from ttm_client.cli.studies import tables
from ttm_client.cli.studies.submit import submit
from ttm_client.cli.studies.watch import StudyArgument, watch
from ttm_client.models.studies import Study

app = typer.Typer(help="Studies: find the student that meets limits.", no_args_is_help=True)


def list_studies(
    state: Annotated[list[str] | None, typer.Option(help="Only studies in this state. Repeatable.")] = None,
    view: ViewOption = None,
    limit: LimitOption = 20,
    json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """List studies, newest first. `--state` replaces that of `--view`."""
    with service(url) as client:
        if view is not None and not state:
            state = filters_of(client, "studies", view).get("state")
        found = list(islice(client.studies.list(states=state or ()), limit))
    if json:
        print_json(found)
    else:
        tables.print_studies(found)


def show(study_id: StudyArgument, json: JsonOption = False, url: UrlOption = None) -> None:
    """Show a study: stage, rungs, finalists, and the recommended student with its comparisons."""
    with service(url) as client:
        study = client.studies.get(study_id)
        candidates = client.studies.candidates(study.id)
    if json:
        print_json(study)
    else:
        print_rows(("", ""), tables.describe(study, candidates))


def candidates(study_id: StudyArgument, json: JsonOption = False, url: UrlOption = None) -> None:
    """Show the candidates of a study, with the reason why a candidate was excluded."""
    with service(url) as client:
        found = client.studies.candidates(study_id)
    if json:
        print_json(found)
    else:
        tables.print_candidates(found)


def front(study_id: StudyArgument, json: JsonOption = False, url: UrlOption = None) -> None:
    """Show the files that no other matches or exceeds in accuracy, size and latency. * marks the recommended one."""
    with service(url) as client:
        study = client.studies.get(study_id)
        found, rows = client.studies.front(study.id), client.studies.candidates(study.id)
    if json:
        print_json(found)
    else:
        tables.print_front(found, rows, study.recommendation)


def download(
    study_id: StudyArgument,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Output path, or the folder for student.safetensors.")
    ] = Path("student.safetensors"),
    json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """Download the recommended student. Resumes an interrupted download and verifies the SHA-256."""
    if output.is_dir():
        output /= "student.safetensors"
    with service(url) as client, transfer(output.name, quiet=json) as progress:
        client.studies.download_student(study_id, output, progress)
    if json:
        print_json({"path": output})
    else:
        console.print(str(output), highlight=False)


def replay(study_id: StudyArgument, json: JsonOption = False, url: UrlOption = None) -> None:
    """Compute the decisions of a study again from its stored results. The exit code is 1 if they differ."""
    with service(url) as client:
        found = client.studies.replay(study_id)
    if json:
        print_json(found)
    if not found.agrees:
        differing = [name for name, value in found.replayed.items() if found.stored.get(name) != value]
        fail(f"The replayed decisions differ in: {', '.join(differing)}.", FAILED)
    if not json:
        console.print("The replayed decisions agree.", highlight=False)


def cancel(study_id: StudyArgument, json: JsonOption = False, url: UrlOption = None) -> None:
    """Cancel a study and its jobs."""
    with service(url) as client:
        _print_state(client.studies.cancel(study_id), json=json)


def pause(study_id: StudyArgument, json: JsonOption = False, url: UrlOption = None) -> None:
    """Pause a study and its jobs, which save a checkpoint."""
    with service(url) as client:
        _print_state(client.studies.pause(study_id), json=json)


def resume(study_id: StudyArgument, json: JsonOption = False, url: UrlOption = None) -> None:
    """Continue a paused study."""
    with service(url) as client:
        _print_state(client.studies.resume(study_id), json=json)


def delete(
    study_id: StudyArgument,
    yes: YesOption = False,
    json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """Delete a study that has ended, with its jobs and their files."""
    with service(url) as client:
        found = client.studies.get(study_id)
        delete_confirmed(client.studies, found, "its jobs and their files", yes=yes, json=json)


def _print_state(study: Study, *, json: bool) -> None:
    if json:
        print_json(study)
    else:
        console.print(study.state, highlight=False)


app.command("list", epilog=EXIT_CODES)(list_studies)
for command in (submit, watch, show, candidates, front, download, replay, cancel, pause, resume, delete):
    app.command(epilog=EXIT_CODES)(command)
