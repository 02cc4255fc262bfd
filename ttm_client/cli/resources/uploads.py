"""`ttm uploads`: files that the service keeps."""

from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from ttm_client.cli.output import (
    JsonOption,
    LimitOption,
    UrlOption,
    console,
    moment,
    print_json,
    print_rows,
    service,
    size,
    transfer,
)

app = typer.Typer(help="Send files to the service, list and delete them.", no_args_is_help=True)


@app.command()
def send(
    path: Annotated[Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, help="The file.")],
    json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """Send a file; it goes on where a connection broke. Prints how a spec names it."""
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
    rows = [(upload.uri, upload.filename or "", size(upload.size), moment(upload.created_at)) for upload in found]
    print_rows(("ADDRESS", "FILE", "SIZE", "CREATED"), rows)


@app.command()
def delete(
    upload: Annotated[str, typer.Argument(metavar="ADDRESS", help="upload:ID, or the id alone.")],
    json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """Delete an upload. A job that names it and has not fetched it yet fails."""
    upload_id = upload.removeprefix("upload:")
    with service(url) as client:
        client.uploads.delete(upload_id)
    if json:
        print_json({"id": upload_id, "removed": True})
