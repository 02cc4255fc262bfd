"""`ttm uploads`."""

from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from ttm_client.cli.output import (
    JsonOption,
    LimitOption,
    UrlOption,
    console,
    local_time,
    print_json,
    print_rows,
    service,
    size,
    transfer,
)

app = typer.Typer(help="Upload files, list and delete uploads.", no_args_is_help=True)


@app.command()
def send(
    path: Annotated[Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, help="File to upload.")],
    json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """Upload a file and print the URI for use in a spec.

    Resumes after a broken connection, and continues an interrupted upload of the same file.
    """
    with service(url) as client, transfer(f"uploading {path.name}", quiet=json) as progress:
        upload = client.uploads.create(path, progress)
    if json:
        print_json(upload)
    else:
        console.print(upload.uri, highlight=False)


@app.command("list")
def list_uploads(
    limit: LimitOption = 20,
    json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """List complete uploads, newest first."""
    with service(url) as client:
        found = list(islice(client.uploads.list(), limit))
    if json:
        print_json(found)
        return
    rows = [(upload.uri, upload.filename or "", size(upload.size), local_time(upload.created_at)) for upload in found]
    print_rows(("URI", "FILE", "SIZE", "CREATED"), rows, optional=("CREATED",), whole=("URI",))


@app.command()
def delete(
    upload: Annotated[str, typer.Argument(metavar="UPLOAD", help="upload:ID or the id.")],
    json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """Delete an upload. A job that refers to it and has not fetched it yet fails."""
    upload_id = upload.removeprefix("upload:")
    with service(url) as client:
        client.uploads.delete(upload_id)
    if json:
        print_json({"id": upload_id, "deleted": True})
