"""Servers of other projects that tests run as processes."""

import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx2

from ttm_jobs.broker.embedded import free_port
from ttm_jobs.processes import die_with_parent


class HttpServerProcess:
    """A server on a free loopback port, in a process group of its own that ends with the block or with the tests.

    Subclasses set `name` and override `command`.
    """

    name: str
    start_seconds = 60.0

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> Sequence[str]:
        """The command line."""
        raise NotImplementedError

    def folder(self) -> Path:
        """The working directory of the process."""
        raise NotImplementedError

    def variables(self) -> dict[str, str]:
        """Environment variables of the process, in addition to those of the tests."""
        return {}

    def check(self) -> None:
        """Requests something. Raises httpx2.HTTPError until the server is ready."""
        httpx2.get(self.url, timeout=5).raise_for_status()

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self.command(),
            cwd=self.folder(),
            env={**os.environ, **self.variables()},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=die_with_parent(),
        )
        deadline = time.monotonic() + self.start_seconds
        while True:
            assert self._process.poll() is None, f"{self.name} exited"
            try:
                self.check()
                return self
            except httpx2.HTTPError:
                assert time.monotonic() < deadline, f"{self.name} did not start in time"
                time.sleep(0.05)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, 9)
        self._process.wait()
