"""The `ttm` command: a file a subcommand."""

import typer

from cli import (
    architectures,
    cancel,
    compare,
    demo,
    distill,
    doctor,
    download,
    jobs,
    keys,
    logs,
    names,
    projects,
    queue,
    recipes,
    show,
    stores,
    submit,
    up,
    uploads,
    watch,
    webhooks,
    wishes,
)
from cli.output import EXIT_CODES

app = typer.Typer(
    name="ttm",
    help="Turn a large image classifier into a small one.\n\n" + EXIT_CODES,
    no_args_is_help=True,
    # A traceback with local variables may show a password.
    pretty_exceptions_show_locals=False,
)
app.command(epilog=EXIT_CODES)(up.up)
app.command(epilog=EXIT_CODES)(demo.demo)
app.command(epilog=EXIT_CODES)(submit.submit)
app.command(epilog=EXIT_CODES)(jobs.jobs)
app.command(epilog=EXIT_CODES)(show.show)
app.command(epilog=EXIT_CODES)(watch.watch)
app.command(epilog=EXIT_CODES)(logs.logs)
app.command(epilog=EXIT_CODES)(cancel.cancel)
app.command(epilog=EXIT_CODES)(wishes.pause)
app.command(epilog=EXIT_CODES)(wishes.resume)
app.command(epilog=EXIT_CODES)(wishes.retry)
app.command(epilog=EXIT_CODES)(compare.compare)
app.command(epilog=EXIT_CODES)(download.download)
app.command(epilog=EXIT_CODES)(queue.queue)
app.command(epilog=EXIT_CODES)(queue.workers)
app.command(epilog=EXIT_CODES)(architectures.architectures)
app.add_typer(names.teachers, name="teachers")
app.add_typer(names.datasets, name="datasets")
app.add_typer(uploads.app, name="uploads")
app.command(epilog=EXIT_CODES)(stores.stores)
app.add_typer(webhooks.app, name="webhooks")
app.add_typer(keys.app, name="keys")
app.add_typer(projects.app, name="projects")
app.command(epilog=EXIT_CODES)(recipes.recipes)
app.command(epilog=EXIT_CODES)(distill.distill)
app.command(epilog=EXIT_CODES)(doctor.doctor)


if __name__ == "__main__":
    app()
