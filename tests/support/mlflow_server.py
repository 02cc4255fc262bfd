"""Starts MLflow's own server, if installed: the command in TTM_MLFLOW, or `mlflow` on the PATH.

MLflow requires package versions that conflict with this project, so `make mlflow` installs it in a separate environment.
"""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx2

from tests.support.http_server import HttpServerProcess

COMMAND = os.environ.get("TTM_MLFLOW") or shutil.which("mlflow")


class MlflowProcess(HttpServerProcess):
    """An MLflow server with SQLite and a local artifact folder."""

    name = "the MLflow server"
    start_seconds = 120.0

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def command(self) -> Sequence[str]:
        assert COMMAND is not None
        store = ("--backend-store-uri", f"sqlite:///{self._folder}/mlflow.db")
        artifacts = ("--artifacts-destination", str(self._folder / "artifacts"))
        port = str(self.port)
        return COMMAND, "server", "--host", "127.0.0.1", "--port", port, "--workers", "1", *store, *artifacts

    def folder(self) -> Path:
        return self._folder

    def variables(self) -> dict[str, str]:
        # Disables usage telemetry.
        return {"PYTHONPATH": "", "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}

    def check(self) -> None:
        httpx2.get(f"{self.url}/health", timeout=5).raise_for_status()

    def call(self, what: str, **fields: Any) -> dict[str, Any]:
        url = f"{self.url}/api/2.0/mlflow/{what}"
        get = what.endswith(("get-by-name", "get-history", "list")) or what.startswith("model-versions")
        response = httpx2.get(url, params=fields) if get else httpx2.post(url, json=fields)
        response.raise_for_status()
        body: dict[str, Any] = response.json()
        return body
