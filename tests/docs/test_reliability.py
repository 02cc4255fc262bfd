"""The reliability page: every guarantee names an existing test, and the tables are current."""

import ast
import json
import re
from pathlib import Path

from tests.faults import soak_table
from ttm_core.errors import BadImage, EngineError, UserError
from ttm_core.spec.catalogue import UnknownArchitecture
from ttm_core.spec.recipes import UnknownRecipe

ROOT = Path(__file__).parents[2]
PAGE = soak_table.PAGE.read_text()


def functions(path: Path) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]


def test_every_named_test_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)
    assert len(named) > 30
    for file, test in named:
        assert test in {function.name for function in functions(ROOT / file)}, f"{file}::{test}"


def test_every_fault_has_a_row() -> None:
    faults = set()
    for path in (ROOT / "tests" / "faults").glob("test_*.py"):
        faults |= set(re.findall(r'mark\.fault\("([^"]+)"\)', path.read_text()))
    rows = set(re.findall(r"^\| ([^|*]+?) \|", PAGE.partition("## The table of faults")[2].partition("\n## ")[0], re.M))
    assert faults <= rows, faults - rows


def test_every_failure_of_the_engine_has_a_row() -> None:
    # An image that the API classifies fails no job, names of recipes are checked at submission, and UserError is a base
    # class.
    assert issubclass(UnknownArchitecture, UserError)
    codes = {error.code for error in (*EngineError.__subclasses__(), *UserError.__subclasses__())}
    table = PAGE.partition("## Retries by failure code")[2].partition("\n## ")[0]
    assert codes - {BadImage.code, UnknownRecipe.code, UserError.code} - set(re.findall(r"`(\w+)`", table)) == set()


def test_soak_figures_are_current_and_sound() -> None:
    figures = json.loads(soak_table.FIGURES.read_text())
    assert soak_table.rewritten(PAGE, figures) == PAGE, "run: python -m tests.faults.soak_table"
    assert figures["lost"] == figures["ended_twice"] == figures["wrong_bytes"] == 0
    assert figures["succeeded"] == figures["accepted"] + figures["unanswered"]
