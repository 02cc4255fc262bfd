"""The `ttm` command. The client commands are here; other packages add theirs through the entry point `ttm.commands`."""

from importlib.metadata import entry_points, version
from typing import Annotated

import typer

from ttm_client.cli.bench import command as benchmark
from ttm_client.cli.group import Commands
from ttm_client.cli.jobs import compare, damage, events, list, show, submit, watch
from ttm_client.cli.jobs.changes import bulk, control
from ttm_client.cli.jobs.files import download, push
from ttm_client.cli.output import EXIT_CODES
from ttm_client.cli.resources import audit, catalogue, fleet, inspect, queue, registry, uploads, views, webhooks
from ttm_client.cli.studies import commands as studies
from ttm_client.cli.studies import submit as study_submit

# Each entry point names a function that takes the Typer app and adds commands to it.
COMMANDS_GROUP = "ttm.commands"

app = typer.Typer(
    name="ttm",
    cls=Commands,
    help="Turn a large image classifier into a small one.\n\n" + EXIT_CODES,
    no_args_is_help=True,
    # A traceback with local variables may show a password.
    pretty_exceptions_show_locals=False,
)


def _print_version(given: bool) -> None:
    if given:
        typer.echo(f"ttm {version('ttm-client')}")
        raise typer.Exit


@app.callback()
def main(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """The options of `ttm` itself."""


_JOBS, _STUDIES, _MODELS, _FLEET = "Jobs", "Studies", "Models and data", "Fleet"
for panel, commands in {
    _JOBS: (
        submit.submit,
        list.jobs,
        show.show,
        watch.watch,
        watch.logs,
        bulk.cancel,
        control.pause,
        control.resume,
        control.retry,
        control.delete,
        bulk.tag,
        compare.compare,
        damage.damage,
        damage.predict,
        download.download,
        push.push,
    ),
    _STUDIES: (study_submit.candidates,),
    _MODELS: (inspect.inspect, catalogue.architectures, catalogue.recipes),
    _FLEET: (benchmark.bench, fleet.devices, queue.queue, queue.workers, fleet.stores, events.events, audit.audit),
}.items():
    for command in commands:
        app.command(epilog=EXIT_CODES, rich_help_panel=panel)(command)
app.command("open", epilog=EXIT_CODES, rich_help_panel=_JOBS)(control.open_page)
app.add_typer(views.app, name="views", rich_help_panel=_JOBS)
app.add_typer(studies.app, name="study", rich_help_panel=_STUDIES)
app.add_typer(registry.teachers, name="teachers", rich_help_panel=_MODELS)
app.add_typer(registry.datasets, name="datasets", rich_help_panel=_MODELS)
app.add_typer(uploads.app, name="uploads", rich_help_panel=_MODELS)
app.add_typer(webhooks.app, name="webhooks", rich_help_panel=_FLEET)
for entry_point in entry_points(group=COMMANDS_GROUP):
    entry_point.load()(app)


if __name__ == "__main__":
    app()
