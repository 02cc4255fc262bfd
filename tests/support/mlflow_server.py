"""MLflow's own server, where it is at hand: TTM_MLFLOW names its command, or it is on the PATH.

It wants other versions of some packages than this project, so that it lives in an environment of its own:
`make mlflow` makes one.
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
    """A server with SQLite and a folder for artifacts."""

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
            # It would tell its makers of its use.
            env={**os.environ, "PYTHONPATH": "", "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
        deadline = time.monotonic() + 120
        while True:
            assert self._process.poll() is None, "MLflow's server ended"
            try:
                httpx2.get(f"{self.url}/health", timeout=5).raise_for_status()
                return self
            except httpx2.HTTPError:
                assert time.monotonic() < deadline, "MLflow's server did not start"
                time.sleep(0.2)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._process is not None
        # Its workers are of its group.
        os.killpg(self._process.pid, 9)
        self._process.wait()

    def ask(self, what: str, **fields: Any) -> dict[str, Any]:
        url = f"{self.url}/api/2.0/mlflow/{what}"
        get = what.endswith(("get-by-name", "get-history", "list")) or what.startswith("model-versions")
        answer = httpx2.get(url, params=fields) if get else httpx2.post(url, json=fields)
        answer.raise_for_status()
        told: dict[str, Any] = answer.json()
        return told
