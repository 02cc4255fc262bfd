"""Azure Blob Storage on a free loopback port: Azurite, which `make azure-emulator` installs."""

import base64
import hashlib
import hmac
import os
import shutil
import subprocess
import tempfile
import time
from email.utils import formatdate
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx2

from ttm_jobs.broker.embedded import free_port
from ttm_jobs.database.ids import new_id
from ttm_jobs.processes import die_with_parent

_PROGRAM = Path(__file__).parents[2] / "build" / "npm" / "node_modules" / ".bin" / "azurite-blob"
NO_AZURE = (
    "NO AZURE: storage in Azure was not tested. `make azure-emulator` installs Azurite where npm is present."
    if shutil.which("node") is None or not _PROGRAM.exists()
    else None
)
_ACCOUNT, _KEY = "pets", base64.b64encode(b"the key of an account at Azurite").decode()


class AzureServer:
    """Runs Azurite as a process with its objects in memory. `environment` makes obstore use it."""

    def __init__(self) -> None:
        self._port = free_port()
        self._url = f"http://127.0.0.1:{self._port}/{_ACCOUNT}"
        self.environment = {
            "AZURE_STORAGE_ACCOUNT_NAME": _ACCOUNT,
            "AZURE_STORAGE_ACCOUNT_KEY": _KEY,
            "AZURE_STORAGE_ENDPOINT": self._url,
        }
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        options = ["--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry", "--silent"]
        self._process = subprocess.Popen(
            [str(_PROGRAM), "--blobHost", "127.0.0.1", "--blobPort", str(self._port), *options],
            cwd=tempfile.gettempdir(),
            env={**os.environ, "AZURITE_ACCOUNTS": f"{_ACCOUNT}:{_KEY}"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=die_with_parent,
        )
        deadline = time.monotonic() + 60
        while True:
            assert self._process.poll() is None, "Azurite exited"
            try:
                httpx2.get(self._url, timeout=5)
                return self
            except httpx2.HTTPError:
                assert time.monotonic() < deadline, "Azurite did not start in time"
                time.sleep(0.05)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def new_bucket(self) -> str:
        """Creates a container, which obstore cannot, with a request signed by the account's key."""
        name = f"container-{new_id()}"
        headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
        signed = "PUT" + 12 * "\n" + "".join(f"{name}:{value}\n" for name, value in headers.items())
        signed += f"/{_ACCOUNT}/{_ACCOUNT}/{name}\nrestype:container"
        signature = base64.b64encode(hmac.digest(base64.b64decode(_KEY), signed.encode(), hashlib.sha256)).decode()
        headers["Authorization"] = f"SharedKey {_ACCOUNT}:{signature}"
        httpx2.put(f"{self._url}/{name}?restype=container", headers=headers).raise_for_status()
        return name
