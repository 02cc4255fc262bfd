"""`ttm download`."""

from pathlib import Path
from typing import Annotated

import typer

from ttm_client import Client
from ttm_client.cli.jobs.show import JobArgument, full_id
from ttm_client.cli.output import NOT_FOUND, JsonOption, UrlOption, console, fail, print_json, service, transfer


def download(
    job_id: JobArgument,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Output path, or the folder for a file of the artifact's name. Default: that file here.",
        ),
    ] = None,
    artifact: Annotated[
        str | None, typer.Option(help="Name of another artifact to download instead of the student.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Download all artifacts into the folder OUTPUT, by default the job's id.")
    ] = False,
    json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """Download the trained student. Resumes an interrupted download and verifies the SHA-256."""
    if everything and artifact is not None:
        raise typer.BadParameter("use either --all or --artifact", param_hint="--all")
    with service(url) as client:
        if everything:
            job_id = full_id(client, job_id)
            _download_all(client, job_id, output or Path(job_id), json=json)
            return
        name = artifact or "student.safetensors"
        path = output or Path(name)
        if path.is_dir():
            path /= name
        with transfer(name, quiet=json) as progress:
            if artifact is None:
                client.jobs.download_student(job_id, path, progress)
            else:
                client.jobs.download_artifact(job_id, artifact, path, progress)
    if json:
        print_json({"path": path})
    else:
        console.print(str(path), highlight=False)


def _download_all(client: Client, job_id: str, folder: Path, *, json: bool) -> None:
    files = client.jobs.artifacts(job_id)
    if not files:
        fail("The job has no artifacts.", NOT_FOUND)
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        with transfer(file.name, quiet=json) as progress:
            client.jobs.download_artifact(job_id, file, folder / file.name, progress)
        if not json:
            console.print(str(folder / file.name), highlight=False)
    if json:
        print_json({"paths": [folder / file.name for file in files]})
