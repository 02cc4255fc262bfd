"""Runs `ttm` without importing it each time: a server process imports the commands once and forks per command."""

import os
import subprocess
import sys
from collections.abc import Mapping
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

_COMMANDS = "ttm_client.cli.main"
_CONTEXT = get_context("forkserver")
_CONTEXT.set_forkserver_preload([_COMMANDS])


def run_ttm(*arguments: str, environment: Mapping[str, str], timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Runs a command in a process with only the variables of `environment`, without a terminal and without input.

    Kills the command and raises `subprocess.TimeoutExpired` after `timeout` seconds.
    """
    with TemporaryDirectory() as folder:
        out, error = Path(folder, "out"), Path(folder, "error")
        process = _CONTEXT.Process(target=_run, args=(arguments, dict(environment), out, error))
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(["ttm", *arguments], timeout)
        code = process.exitcode
        process.close()
        return subprocess.CompletedProcess(["ttm", *arguments], code, out.read_text(), error.read_text())


def _run(arguments: tuple[str, ...], environment: dict[str, str], out: Path, error: Path) -> None:
    for path, descriptor in ((out, 1), (error, 2)):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT)
        os.dup2(opened, descriptor)
        os.close(opened)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["ttm", *arguments]
    from ttm_client.cli.main import app

    app()
