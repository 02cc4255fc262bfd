"""Processes that start without importing anything: forked from a server that has imported the service and the engine.

There is one server per test process, started on first use.
"""

import atexit
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Mapping
from multiprocessing import get_context
from pathlib import Path

from ttm_core.process import die_with

CONTEXT = get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.support.preloaded"])


class ForkedModule:
    """`python -m module` with `environment`, its output appended to `log`. Ends with the test process.

    Has the methods of `subprocess.Popen` that tests use.
    """

    def __init__(self, module: str, environment: Mapping[str, str], log: Path) -> None:
        self.args = ["python", "-m", module]
        self._process = CONTEXT.Process(target=_run_module, args=(module, dict(environment), log))
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Raises `subprocess.TimeoutExpired`, as `subprocess.Popen` does."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def redirect(path: Path, *descriptors: int) -> None:
    """Appends what this process writes to the descriptors to a file."""
    opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for descriptor in descriptors:
        os.dup2(opened, descriptor)
    os.close(opened)


def set_environment(environment: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)


def _run_module(module: str, environment: dict[str, str], log: Path) -> None:
    die_with(os.getppid())
    redirect(log, 1, 2)
    set_environment(environment)
    sys.argv = [module]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        # A forked process ends without them.
        atexit._run_exitfuncs()
