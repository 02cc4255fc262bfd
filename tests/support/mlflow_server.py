"""Starts MLflow's own server, if installed: the command in TTM_MLFLOW, or `mlflow` on the PATH.

MLflow requires package versions that conflict with this project, so `make mlflow` installs it in a separate environment.
"""

import os
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2

from ttm_jobs.broker.embedded import free_port
from ttm_jobs.processes import die_with_parent

COMMAND = os.environ.get("TTM_MLFLOW") or shutil.which("mlflow")


class MlflowProcess:
    """An MLflow server with SQLite and a local artifact folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.url = f"http://127.0.0.1:{free_port()}"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        assert COMMAND is not None
        port = self.url.rpartition(":")[2]
        store = ("--backend-store-uri", f"sqlite:///{self._folder}/mlflow.db")
        artifacts = ("--artifacts-destination", str(self._folder / "artifacts"))
        self._process = subprocess.Popen(
            [COMMAND, "server", "--host", "127.0.0.1", "--port", port, "--workers", "1", *store, *artifacts],
            cwd=self._folder,
            # Disables usage telemetry.
            env={**os.environ, "PYTHONPATH": "", "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
        deadline = time.monotonic() + 120
        while True:
            assert self._process.poll() is None, "the MLflow server exited"
            try:
                httpx2.get(f"{self.url}/health", timeout=5).raise_for_status()
                return self
            except httpx2.HTTPError:
                assert time.monotonic() < deadline, "the MLflow server did not start in time"
                time.sleep(0.2)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._process is not None
        # The worker processes are in the same process group.
        os.killpg(self._process.pid, 9)
        self._process.wait()

    def call(self, what: str, **fields: Any) -> dict[str, Any]:
        url = f"{self.url}/api/2.0/mlflow/{what}"
        get = what.endswith(("get-by-name", "get-history", "list")) or what.startswith("model-versions")
        response = httpx2.get(url, params=fields) if get else httpx2.post(url, json=fields)
        response.raise_for_status()
        body: dict[str, Any] = response.json()
        return body
