"""Azure Blob Storage on a free loopback port: Azurite, which `make azure-emulator` installs."""

import base64
import hashlib
import hmac
import shutil
import tempfile
from collections.abc import Sequence
from email.utils import formatdate
from pathlib import Path

import httpx2

from tests.support.http_server import HttpServerProcess
from ttm_jobs.database.ids import new_id

_PROGRAM = Path(__file__).parents[2] / "build" / "azurite" / "node_modules" / ".bin" / "azurite-blob"
NO_AZURE = (
    "NO AZURE: storage in Azure was not tested. `make azure-emulator` installs Azurite where npm is present."
    if shutil.which("node") is None or not _PROGRAM.exists()
    else None
)
_ACCOUNT, _KEY = "pets", base64.b64encode(b"the key of an account at Azurite").decode()


class AzureServer(HttpServerProcess):
    """Runs Azurite with its objects in memory. `environment` makes obstore use it."""

    name = "Azurite"

    def __init__(self) -> None:
        super().__init__()
        self._account_url = f"{self.url}/{_ACCOUNT}"
        self.environment = {
            "AZURE_STORAGE_ACCOUNT_NAME": _ACCOUNT,
            "AZURE_STORAGE_ACCOUNT_KEY": _KEY,
            "AZURE_STORAGE_ENDPOINT": self._account_url,
        }

    def command(self) -> Sequence[str]:
        options = ("--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry", "--silent")
        return str(_PROGRAM), "--blobHost", "127.0.0.1", "--blobPort", str(self.port), *options

    def folder(self) -> Path:
        return Path(tempfile.gettempdir())

    def variables(self) -> dict[str, str]:
        return {"AZURITE_ACCOUNTS": f"{_ACCOUNT}:{_KEY}"}

    def check(self) -> None:
        # Without a signature the account is refused, which is an answer, too.
        httpx2.get(self._account_url, timeout=5)

    def new_bucket(self) -> str:
        """Creates a container, which obstore cannot, with a request signed by the account's key."""
        name = f"container-{new_id()}"
        headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
        signed = "PUT" + 12 * "\n" + "".join(f"{name}:{value}\n" for name, value in headers.items())
        signed += f"/{_ACCOUNT}/{_ACCOUNT}/{name}\nrestype:container"
        signature = base64.b64encode(hmac.digest(base64.b64decode(_KEY), signed.encode(), hashlib.sha256)).decode()
        headers["Authorization"] = f"SharedKey {_ACCOUNT}:{signature}"
        httpx2.put(f"{self._account_url}/{name}?restype=container", headers=headers).raise_for_status()
        return name
