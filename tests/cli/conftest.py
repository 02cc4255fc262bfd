"""`ttm` as a process, and one stack shared by all tests."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from cli.stack.stack import Stack, StackOptions
from tests.support.forked_ttm import run_ttm

ROOT = Path(__file__).parents[2]
Ttm = Callable[..., subprocess.CompletedProcess[str]]

# Excludes the developer's TTM_* variables. No test needs a trainer that waits for a job and imports torch meanwhile.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("TTM_")}
ENVIRONMENT["TTM_STANDBY_TRAINER"] = "false"


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that jobs may read."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, data: Path, forked_tiny_trainer: Sequence[str]) -> Iterator[Stack]:
    """API, dispatcher, broker, database, and a worker with the fake trainer."""
    options = StackOptions(
        var=tmp_path_factory.mktemp("var"),
        port=0,
        data_roots=(data,),
        worker_command=(sys.executable, "-m", "tests.support.tiny_worker"),
        environment={**ENVIRONMENT, "TRAINER_COMMAND": json.dumps(forked_tiny_trainer)},
    )
    with Stack(options) as stack:
        yield stack


@pytest.fixture
def ttm(stack: Stack) -> Ttm:
    """Runs `ttm` against the stack."""

    def run(*arguments: str, url: str = stack.url) -> subprocess.CompletedProcess[str]:
        return run_ttm(*arguments, environment={**ENVIRONMENT, "TTM_URL": url})

    return run


@pytest.fixture
def stack_url(stack: Stack) -> str:
    return stack.url
