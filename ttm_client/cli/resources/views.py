"""`ttm views`: saved filters of the lists."""

from typing import Annotated, Literal
from urllib.parse import parse_qs

import typer

from ttm_client import Client, View
from ttm_client.cli.output import JsonOption, UrlOption, local_time, print_json, print_rows, service

Page = Literal["jobs", "studies"]
PageArgument = Annotated[Page, typer.Argument(metavar="LIST", help="The list: jobs or studies.")]
ViewOption = Annotated[
    str | None,
    typer.Option(help="Apply the filters of the saved view of this name; see `ttm views list`.", show_default=False),
]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the view.")]

app = typer.Typer(help="List, save and delete saved views of the jobs and studies lists.", no_args_is_help=True)


@app.command("list")
def list_views(json: JsonOption = False, url: UrlOption = None) -> None:
    """List the project's saved views. `ttm jobs` and `ttm study list` apply the filters of one with `--view NAME`."""
    with service(url) as client:
        found = list(client.views.list())
    if json:
        print_json(found)
    else:
        print_rows(
            ("LIST", "NAME", "QUERY", "CREATED"),
            [_row(view) for view in found],
            optional=("CREATED",),
            wrapped=("NAME", "QUERY"),
        )


@app.command()
def save(
    page: PageArgument,
    name: NameArgument,
    query: Annotated[str, typer.Argument(metavar="QUERY", help="For example state=failed&tag=night.")],
    json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """Save a view, as the page's address has it after the question mark. A view with the same name is changed."""
    with service(url) as client:
        view = client.views.save(page, name, parse_qs(query.removeprefix("?")))
    if json:
        print_json(view)


@app.command()
def delete(page: PageArgument, name: NameArgument, json: JsonOption = False, url: UrlOption = None) -> None:
    """Delete a view for everybody in the project."""
    with service(url) as client:
        client.views.delete(page, name)
    if json:
        print_json({"page": page, "name": name, "deleted": True})


def filters_of(client: Client, page: Page, name: str) -> dict[str, list[str]]:
    """The parameters of a saved view, by name. Raises typer.BadParameter if it does not exist."""
    views = {view.name: view for view in client.views.list(page)}
    if name not in views:
        known = ", ".join(views) or "none"
        raise typer.BadParameter(f"There is no view of this name. Saved views of {page}: {known}.", param_hint="--view")
    return parse_qs(views[name].query)


def _row(view: View) -> tuple[str, ...]:
    return view.page, view.name, view.query, local_time(view.created_at)
