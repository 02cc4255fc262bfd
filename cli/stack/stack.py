"""The service on one machine: runs and restarts broker, API, dispatcher and workers.

with Stack(StackOptions(var=Path("var"), port=0)) as stack:
    print(stack.url)
"""

import fcntl
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Self
from urllib.error import HTTPError
from urllib.request import urlopen

from cli.admin.database import database_url_in, storage_url_in
from cli.stack.processes import Service
from ttm_jobs.broker.embedded import BrokerDidNotStart, EmbeddedBroker
from ttm_jobs.uris import is_loopback

_READY_SECONDS = 90.0
# The socket accepts connections before the API runs, so the first requests time out.
_ANSWER_SECONDS = 1.5
_TICK_SECONDS = 0.2
# A process that exits this often during startup is considered broken.
_MAX_RESTARTS = 2


class StackError(Exception):
    """The stack cannot start; the message says why and what to do."""


class PortTaken(StackError):
    """Another process listens on the port."""


class AlreadyRunning(StackError):
    """Another stack uses the same folder."""


class FolderUnusable(StackError):
    """The data folder is not a folder or not writable."""


class NotLoopback(StackError):
    """Other machines can reach the address, and no API key exists."""


@dataclass(frozen=True)
class StackOptions:
    """Options of `ttm up`. Port 0 selects a free port. All state is stored under `var`.

    TTM_DATABASE_URL and TTM_BROKER_URL in `environment` replace the embedded database and broker.
    """

    var: Path = Path("var")
    host: str = "127.0.0.1"
    port: int = 8000
    broker_port: int = 0
    workers: int = 1
    data_roots: tuple[Path, ...] = ()
    stop_seconds: float = 45.0
    worker_command: Sequence[str] = (sys.executable, "-m", "worker")
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))


class Stack:
    """Context manager that starts the stack and stops it in order: workers first, the broker last.

    One thread starts, watches and stops all processes, because the kernel ties the parent-death signal to the thread
    that forked. `report` receives a line for each restart. Setting `stop` ends the stack, also during startup.
    """

    def __init__(
        self,
        options: StackOptions,
        report: Callable[[str], None] = lambda line: None,
        stop: threading.Event | None = None,
    ) -> None:
        self.options = options
        self.url = ""
        self.services: list[Service] = []
        self._report = report
        self._stop = stop or threading.Event()
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="stack", daemon=True)
        self._listener: socket.socket | None = None
        self._broker: EmbeddedBroker | None = None
        self._lock: IO[str] | None = None

    def __enter__(self) -> Self:
        try:
            self._lock = self._acquire_lock()
            self._listener = self._listen()
        except BaseException:
            self._release()
            raise
        self._thread.start()
        try:
            self._ready.wait()
        except BaseException:  # Ctrl-C while it starts
            self.__exit__()
            raise
        if self._failure is not None:
            self._thread.join()
            self._release()
            raise self._failure
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._release()

    def check(self) -> None:
        """Raises the error that ended the watching thread, if any."""
        if self._failure is not None:
            raise self._failure

    def _check_host(self, environment: Mapping[str, str]) -> None:
        host = self.options.host
        signs_on = not {"TTM_OIDC_ISSUER", "TTM_PROXY_IDENTITY"}.isdisjoint(environment)
        if not is_loopback(host) and not signs_on and not _has_key(environment["TTM_DATABASE_URL"]):
            raise NotLoopback(
                f"Other machines can reach {host}, and no API key exists. Create one first: "
                f"ttm keys create --scope admin --var {self.options.var}"
            )

    def _acquire_lock(self) -> IO[str]:
        path = self.options.var / "stack.lock"
        try:
            self.options.var.mkdir(parents=True, exist_ok=True)
            # Files that an earlier version created may be readable by others.
            self.options.var.chmod(0o700)
            lock = path.open("a+")
        except OSError as error:
            raise FolderUnusable(
                f"The data folder {self.options.var} cannot be used: {error.strerror}. "
                "Choose another folder with --var."
            ) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            holder = lock.read().strip()
            lock.close()
            raise AlreadyRunning(
                f"A stack already runs on {self.options.var.resolve()} (process {holder or 'unknown'}). "
                "Stop it, or choose another folder with --var."
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        return lock

    def _listen(self) -> socket.socket:
        # The API inherits this socket, so the port stays taken and requests wait while the API restarts.
        family = socket.AF_INET6 if ":" in self.options.host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((self.options.host, self.options.port))
            listener.listen(1024)
        except OSError as error:
            listener.close()
            raise PortTaken(
                f"Cannot listen on {self.options.host}:{self.options.port}: {error.strerror}. "
                "Choose another port with --port, or use --port 0."
            ) from None
        host = f"[{self.options.host}]" if family == socket.AF_INET6 else self.options.host
        self.url = f"http://{host}:{listener.getsockname()[1]}"
        return listener

    def _run(self) -> None:
        try:
            self._start()
            self._ready.set()
            while not self._stop.wait(_TICK_SECONDS):
                self._restart_exited()
        except BaseException as error:
            self._failure = error
        finally:
            self._stop_all()
            self._ready.set()

    def _start(self) -> None:
        assert self._listener is not None
        var = self.options.var.resolve()
        logs = var / "log"
        environment = dict(self.options.environment)
        # Otherwise a folder `api` or `worker` in the current directory would be run instead of the package.
        environment["PYTHONSAFEPATH"] = "1"
        environment.setdefault("TTM_DATABASE_URL", database_url_in(var))
        environment.setdefault("TTM_STORAGE_URL", storage_url_in(var))
        environment.setdefault("TTM_WORK_DIR", str(var / "work"))
        environment.setdefault("TTM_WORKERS_PER_MACHINE", str(max(self.options.workers, 1)))
        environment.setdefault("TTM_SECRET_KEY_FILE", _secret_key_file(var))
        if self.options.data_roots:
            environment["TTM_DATA_ROOTS"] = json.dumps([str(root.resolve()) for root in self.options.data_roots])
        _migrate(environment["TTM_DATABASE_URL"])
        self._check_host(environment)
        if "TTM_BROKER_URL" not in environment:
            self._broker = EmbeddedBroker(var / "broker", self.options.broker_port)
            try:
                self._broker.start()
            except BrokerDidNotStart as error:
                raise StackError(error.message) from None
            environment["TTM_BROKER_URL"] = self._broker.url
        fd = self._listener.fileno()
        python = sys.executable
        self._launch(
            Service("api", [python, "-m", "api", "--fd", str(fd)], environment, logs / "api.log", 10.0, pass_fds=(fd,))
        )
        self._launch(
            Service("dispatcher", [python, "-m", "worker.dispatcher"], environment, logs / "dispatcher.log", 10.0)
        )
        for number in range(1, self.options.workers + 1):
            name = "worker" if self.options.workers == 1 else f"worker-{number}"
            self._launch(
                Service(name, self.options.worker_command, environment, logs / f"{name}.log", self.options.stop_seconds)
            )
        self._wait_until_ready()

    def _launch(self, service: Service) -> None:
        service.start()
        self.services.append(service)

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        while (missing := self._missing()) and not self._stop.wait(_TICK_SECONDS):
            failed = [service for service in self.services if service.restarts >= _MAX_RESTARTS]
            if failed or time.monotonic() > deadline:
                tails = "".join(f"\n--- {service.log}\n{service.tail()}" for service in failed or self.services)
                raise StackError(f"The stack did not start: {missing} did not start. The logs end with:{tails}")
            self._restart_exited()
        if self._stop.is_set():
            raise StackError("Stopped while it was starting.")

    def _restart_exited(self) -> None:
        if self._broker is not None and not self._broker.is_alive():
            self._report("the broker exited; restarting it")
            try:
                self._broker.start()
            except BrokerDidNotStart as error:
                self._report(error.message)
        for service in self.services:
            service.rotate_log()
            line = service.restart_if_exited()
            if line is not None:
                self._report(line)

    def _missing(self) -> str:
        """Names of the components that `/readyz` does not report as ready; empty when all are."""
        try:
            with urlopen(f"{self.url}/readyz", timeout=_ANSWER_SECONDS) as answer:
                checks = json.load(answer)["checks"]
        except HTTPError as error:
            checks = json.load(error)["checks"]
        except (OSError, ValueError):
            return "API"
        if self.options.workers == 0:
            checks.pop("worker", None)
        return ", ".join(name for name, status in checks.items() if status != "ok")

    def _stop_all(self) -> None:
        # Workers write checkpoints to the database, so the other processes stop after them.
        workers = [service for service in self.services if service.name.startswith("worker")]
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.stop()
        for service in reversed(self.services):
            service.stop()
        if self._broker is not None:
            self._broker.stop()

    def _release(self) -> None:
        if self._listener is not None:
            self._listener.close()
        if self._lock is not None:
            self._lock.close()


def _migrate(database_url: str) -> None:
    # Imported here because the database libraries take half a second to import.
    from sqlalchemy.exc import SQLAlchemyError

    from ttm_jobs.database.migrate import upgrade

    try:
        upgrade(database_url)
    except (SQLAlchemyError, ValueError) as error:
        raise StackError(f"The database migration failed: {error}") from error


def _secret_key_file(var: Path) -> str:
    """The key file of this folder, created on the first start."""
    from ttm_jobs.database.sealing import KEY_FILE_NAME, add_key

    path = var / KEY_FILE_NAME
    if not path.exists():
        add_key(path)
    return str(path)


def _has_key(database_url: str) -> bool:
    from ttm_jobs.database.engine import create_engine, read_scope
    from ttm_jobs.repositories.access import keys

    engine = create_engine(database_url)
    try:
        with read_scope(engine) as session:
            return keys.any_valid(session)
    finally:
        engine.dispose()
