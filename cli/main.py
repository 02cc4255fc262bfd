"""The commands of `ttm` that run the service or write to its database; the others are in `ttm_client.cli.main`."""

import typer

from cli import demo, distill
from cli.admin import keys, projects, restore, secrets
from cli.doctor import command
from cli.stack import up
from ttm_client.cli.output import EXIT_CODES

_PANEL = "Service"


def register(app: typer.Typer) -> None:
    """Adds the service's commands; the entry point `ttm.commands` of ttm-service calls this."""
    for function in (up.up, demo.demo, command.doctor, distill.distill):
        app.command(epilog=EXIT_CODES, rich_help_panel=_PANEL)(function)
    app.command("after-restore", epilog=EXIT_CODES, rich_help_panel=_PANEL)(restore.after_restore)
    app.add_typer(keys.app, name="keys", rich_help_panel=_PANEL)
    app.add_typer(projects.app, name="projects", rich_help_panel=_PANEL)
    app.add_typer(secrets.app, name="secrets", rich_help_panel=_PANEL)
