"""Commands in the README, the contributing guide and the docs exist, with the options that they use."""

import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from bench.results.__main__ import EXPERIMENTS
from cli.main import register
from ttm_client.cli.main import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def commands(program: str) -> Iterator[tuple[str, list[str]]]:
    """Calls of a program in the shell blocks of all pages, with their arguments."""
    for page in PAGES:
        for block in re.findall(r"```(?:sh|bash|console)\n(.*?)```", page.read_text(), re.S):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                if words and (words[0] == program or words[0].endswith(f"/{program}")):
                    yield page.name, words[1:]


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    used = {target for _, arguments in commands("make") for target in arguments if "=" not in target}
    assert used
    assert used <= targets


def test_python_modules_exist() -> None:
    used = [arguments[1] for _, arguments in commands("python") if arguments[0] == "-m"]
    assert used
    assert [module for module in used if importlib.util.find_spec(module) is None] == []


def test_the_guide_lists_all_experiments() -> None:
    table = (ROOT / "docs/how-to/run-a-table.md").read_text().partition("| experiment |")[2].partition("\n\n")[0]
    names = {name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert names == set(EXPERIMENTS)


@pytest.fixture(scope="module")
def root() -> Any:
    register(app)
    return typer.main.get_command(app)


def test_ttm_commands_and_options_exist(root: Any) -> None:
    used = list(commands("ttm"))
    assert used
    for page, arguments in used:
        command, context = root, root.context_class(root)
        rest = list(arguments)
        while hasattr(command, "get_command") and rest:
            found = command.get_command(context, rest.pop(0))
            assert found is not None, (page, arguments)
            command, context = found, found.context_class(found, parent=context)
        options = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
        for word in rest:
            if word.startswith("--"):
                assert word.partition("=")[0] in {*options, "--help"}, (page, arguments)
