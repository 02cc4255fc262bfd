"""The `ttm` command: a file a subcommand."""

import typer

from cli import architectures, cancel, demo, download, jobs, show, submit, up, watch
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
app.command(epilog=EXIT_CODES)(cancel.cancel)
app.command(epilog=EXIT_CODES)(download.download)
app.command(epilog=EXIT_CODES)(architectures.architectures)


if __name__ == "__main__":
    app()
