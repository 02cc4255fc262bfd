"""The `ttm` command: a file a subcommand."""

import typer

from cli import demo, distill
from cli.admin import keys, projects
from cli.doctor import command
from cli.stack import up
from ttm_client.cli.jobs import compare, control, download, list, logs, show, submit, watch
from ttm_client.cli.output import EXIT_CODES
from ttm_client.cli.resources import catalogue, queue, registry, teacher_stores, uploads, webhooks

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
app.command(epilog=EXIT_CODES)(list.jobs)
app.command(epilog=EXIT_CODES)(show.show)
app.command(epilog=EXIT_CODES)(watch.watch)
app.command(epilog=EXIT_CODES)(logs.logs)
app.command(epilog=EXIT_CODES)(control.cancel)
app.command(epilog=EXIT_CODES)(control.pause)
app.command(epilog=EXIT_CODES)(control.resume)
app.command(epilog=EXIT_CODES)(control.retry)
app.command(epilog=EXIT_CODES)(compare.compare)
app.command(epilog=EXIT_CODES)(download.download)
app.command(epilog=EXIT_CODES)(queue.queue)
app.command(epilog=EXIT_CODES)(queue.workers)
app.command(epilog=EXIT_CODES)(catalogue.architectures)
app.add_typer(registry.teachers, name="teachers")
app.add_typer(registry.datasets, name="datasets")
app.add_typer(uploads.app, name="uploads")
app.command(epilog=EXIT_CODES)(teacher_stores.stores)
app.add_typer(webhooks.app, name="webhooks")
app.add_typer(keys.app, name="keys")
app.add_typer(projects.app, name="projects")
app.command(epilog=EXIT_CODES)(catalogue.recipes)
app.command(epilog=EXIT_CODES)(distill.distill)
app.command(epilog=EXIT_CODES)(command.doctor)


if __name__ == "__main__":
    app()
