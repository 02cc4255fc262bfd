"""The `ttm` command. The client commands are here; other packages add theirs through the entry point `ttm.commands`."""

from importlib.metadata import entry_points

import typer

from ttm_client.cli.bench import command as benchmark
from ttm_client.cli.jobs import compare, control, damage, download, list, logs, show, submit, watch
from ttm_client.cli.output import EXIT_CODES
from ttm_client.cli.resources import catalogue, devices, inspect, queue, registry, teacher_stores, uploads, webhooks
from ttm_client.cli.studies import commands as studies
from ttm_client.cli.studies import submit as study_submit

# Each entry point names a function that takes the Typer app and adds commands to it.
COMMANDS_GROUP = "ttm.commands"

app = typer.Typer(
    name="ttm",
    help="Turn a large image classifier into a small one.\n\n" + EXIT_CODES,
    no_args_is_help=True,
    # A traceback with local variables may show a password.
    pretty_exceptions_show_locals=False,
)
for command in (
    submit.submit,
    list.jobs,
    show.show,
    watch.watch,
    logs.logs,
    control.cancel,
    control.pause,
    control.resume,
    control.retry,
    compare.compare,
    damage.damage,
    damage.predict,
    download.download,
    inspect.inspect,
    benchmark.bench,
    devices.devices,
    queue.queue,
    queue.workers,
    catalogue.architectures,
    catalogue.recipes,
    teacher_stores.stores,
    study_submit.candidates,
):
    app.command(epilog=EXIT_CODES)(command)
app.add_typer(studies.app, name="study")
app.add_typer(registry.teachers, name="teachers")
app.add_typer(registry.datasets, name="datasets")
app.add_typer(uploads.app, name="uploads")
app.add_typer(webhooks.app, name="webhooks")
for entry_point in entry_points(group=COMMANDS_GROUP):
    entry_point.load()(app)


if __name__ == "__main__":
    app()
