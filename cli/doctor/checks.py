"""What `ttm doctor` looks at. Each look is bounded in time and changes nothing but a probe object that it removes."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ttm_client import ClientError
from ttm_client.synchronous.transport import Transport

if TYPE_CHECKING:
    from ttm_jobs.settings import Settings

_PACKAGES = ("ttm-service", "fastapi", "sqlalchemy", "celery", "torch", "torchvision", "timm")
# Runs in a subprocess: the command line does not import torch.
_DEVICES = """
import torch
names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
print(", ".join(names) if names else f"cpu, {torch.get_num_threads()} threads")
"""


class Status(StrEnum):
    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True)
class Check:
    """The result of one check. `advice` says what to do; it is empty where nothing is needed."""

    name: str
    status: Status
    found: str
    advice: str = ""

    def as_json(self) -> dict[str, str]:
        """The check as a JSON object."""
        return {"check": self.name, "status": self.status, "found": self.found, "advice": self.advice}


def local_checks() -> Iterator[Check]:
    """Checks of this machine and of the components that the settings name."""
    yield _python()
    yield _versions()
    yield _devices()
    try:
        settings = read_settings()
    except ValueError as error:
        yield Check("settings", Status.FAILED, str(error), "Correct the TTM_* variable that the message names.")
        return
    yield _configured(settings, "database_url", lambda: _database(settings))
    yield _configured(settings, "broker_url", lambda: _broker(settings))
    yield _checked("storage", lambda: _storage(settings), "TTM_STORAGE_URL must be writable.")


def service_check(url: str | None) -> Check:
    """Checks whether the service is reachable and which of its components are ready."""
    transport = Transport(url, attempts=1, timeout=5.0)
    try:
        checks: dict[str, str] = transport.request("GET", "/readyz").json()["checks"]
    except ClientError as error:
        return Check("service", Status.WARNING, str(error), "Start it with `ttm up`, or pass its URL with --url.")
    except (ValueError, KeyError, TypeError):
        return Check("service", Status.WARNING, f"{transport.base_url} is not this service", "Pass its URL with --url.")
    finally:
        transport.close()
    away = [name for name, status in checks.items() if status != "ok"]
    if away:
        return Check(
            "service",
            Status.WARNING,
            f"{transport.base_url}: not ready: {', '.join(away)}",
            "Check the service's logs.",
        )
    return Check("service", Status.OK, transport.base_url)


def _python() -> Check:
    found = ".".join(map(str, sys.version_info[:3]))
    if (3, 11) <= sys.version_info[:2] < (3, 15):
        return Check("python", Status.OK, found)
    return Check("python", Status.FAILED, found, "Python 3.11 to 3.14 is required.")


def _versions() -> Check:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    line = ", ".join(f"{name} {number}" for name, number in found.items())
    if "missing" in found.values():
        return Check("versions", Status.WARNING, line, "A worker needs all of them: pip install 'ttm-service[worker]'.")
    return Check("versions", Status.OK, line)


def _devices() -> Check:
    try:
        asked = subprocess.run(
            [sys.executable, "-c", _DEVICES], capture_output=True, text=True, timeout=120, check=False
        )
    except subprocess.TimeoutExpired:
        return Check("devices", Status.FAILED, "no answer within two minutes", "Check whether the GPU driver hangs.")
    if asked.returncode:
        last = asked.stderr.strip().splitlines()[-1:] or ["no output"]
        return Check(
            "devices", Status.WARNING, last[0], "A worker here needs torch: pip install 'ttm-service[worker]'."
        )
    found = asked.stdout.strip()
    if found.startswith("cpu"):
        return Check("devices", Status.WARNING, found, "No GPU found; jobs train on the CPU, which is slow.")
    return Check("devices", Status.OK, found)


def _configured(settings: "Settings", setting: str, look: Callable[[], str]) -> Check:
    """Checks a component that a setting names. Without the setting, `ttm up` starts an embedded one, so only a
    warning.
    """
    name, variable = setting.removesuffix("_url"), f"TTM_{setting.upper()}"
    if setting in settings.model_fields_set:
        return _checked(name, look, f"Check that it is running, and {variable}. `ttm up` starts an embedded one.")
    check = _checked(name, look, "")
    if check.status is Status.OK:
        return check
    return Check(name, Status.WARNING, f"{variable} is not set; `ttm up` starts an embedded one")


def _checked(name: str, look: Callable[[], str], advice: str) -> Check:
    try:
        return Check(name, Status.OK, look())
    except Exception as error:
        # Drivers raise many exceptions. Their messages may contain an address but no password.
        words = str(error).strip().splitlines()[:1] or [type(error).__name__]
        return Check(name, Status.FAILED, words[0], advice)


# Imported when needed: the imports take half a second.
def read_settings() -> "Settings":
    from ttm_jobs.settings import Settings

    return Settings()


def _database(settings: Any) -> str:
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    from ttm_jobs.database.engine import create_engine
    from ttm_jobs.database.migrate import alembic_config

    path = settings.database_url.partition("///")[2]
    if settings.database_url.startswith("sqlite"):
        _must_exist(path)
    engine = create_engine(settings.database_url)
    try:
        with engine.connect() as connection:
            at = MigrationContext.configure(connection).get_current_revision()
    finally:
        engine.dispose()
    newest = ScriptDirectory.from_config(alembic_config()).get_current_head()
    if at != newest:
        raise RuntimeError(
            f"its schema is version {at}, the newest is {newest}: run `python -m ttm_jobs.database.migrate`"
        )
    return f"{engine.dialect.name}, schema version {at}"


def _must_exist(path: str) -> None:
    from pathlib import Path

    # Connecting would create an empty database.
    if not Path(path).exists():
        raise FileNotFoundError(f"{path} does not exist")


def _broker(settings: Any) -> str:
    from ttm_jobs.broker import connection

    where = urlsplit(settings.broker_url)
    if not connection.ping(settings.broker_url, timeout=2.0):
        raise ConnectionError(f"no answer from {where.hostname}:{where.port}")
    return f"{where.scheme} at {where.hostname}:{where.port}"


def _storage(settings: Any) -> str:
    from ttm_jobs.database.ids import new_id
    from ttm_jobs.storage import build_storage

    storage = build_storage(settings.storage_url, settings.s3)
    key = f"probes/{new_id()}"
    storage.put(key, [b"probe"])
    try:
        if b"".join(storage.open(key)) != b"probe":
            raise OSError("read other bytes than were written")
    finally:
        storage.delete(key)
    return f"{settings.storage_url}: write, read and delete succeeded"
