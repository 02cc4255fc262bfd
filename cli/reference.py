"""`python -m cli.reference`: docs/reference/cli.md, made from the commands themselves."""

import re
from html import unescape

import typer
from typer.cli import get_docs_for_click

from ttm_client.cli.main import app
from ttm_client.cli.output import EXIT_CODES

_HEAD = """# The command line

Made by `python -m cli.reference > docs/reference/cli.md`; a test says when it is stale.

`ttm COMMAND --help` says the same. `TTM_URL` names the service and `TTM_API_KEY` the key. On a terminal commands draw
tables and bars, of which some columns give way where it is narrow; into a pipe they write tab-separated lines with all
columns and no more; with `--json` they write JSON and nothing else there. What is said beside that goes to standard
error.

`ttm --install-completion` sets up completion for bash, zsh, fish or PowerShell, which offers the newest jobs, too.

"""


def render() -> str:
    """The page as Markdown."""
    command = typer.main.get_command(app)
    made = get_docs_for_click(obj=command, ctx=typer.Context(command), name="ttm")
    # Exit codes are the same everywhere, so they stand once.
    _, first, rest = unescape(made).replace(EXIT_CODES, "").partition("## `ttm up`")
    text = _HEAD + _exit_codes() + first + rest
    return re.sub(r"\n{3,}", "\n\n", text).rstrip() + "\n"


def _exit_codes() -> str:
    told = EXIT_CODES.removeprefix("Exit codes: ").rstrip(".").split(", ")
    rows = [f"| {number} | {words} |" for number, _, words in (part.partition(" ") for part in told)]
    return "## Exit codes\n\n| code | meaning |\n|---|---|\n" + "\n".join(rows) + "\n\n"


if __name__ == "__main__":
    print(render(), end="")
