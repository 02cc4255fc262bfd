"""Runs `ttm` without importing it each time: a server process imports the commands once and forks per command."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.fork_server import CONTEXT, redirect, set_environment


def run_ttm(*arguments: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Runs a command in a process with only the variables of `environment`, without a terminal and without input.

    A test that ends before the command, at its limit of time, kills it.
    """
    with TemporaryDirectory() as folder:
        out, error = Path(folder, "out"), Path(folder, "error")
        process = CONTEXT.Process(target=_run, args=(arguments, dict(environment), out, error))
        process.start()
        try:
            process.join()
        except BaseException:
            process.kill()
            process.join()
            raise
        code = process.exitcode
        process.close()
        return subprocess.CompletedProcess(["ttm", *arguments], code, out.read_text(), error.read_text())


def _run(arguments: tuple[str, ...], environment: dict[str, str], out: Path, error: Path) -> None:
    redirect(out, 1)
    redirect(error, 2)
    set_environment(environment)
    sys.argv = ["ttm", *arguments]
    from ttm_client.cli.main import app

    app()
