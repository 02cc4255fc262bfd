"""The whole service on one machine: broker, API, dispatcher and workers as processes, kept running.

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
from ipaddress import ip_address
from pathlib import Path
from typing import IO, Self
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import urlopen

from cli.stack.processes import Service
from ttm_jobs.broker.embedded import BrokerDidNotStart, EmbeddedBroker

_READY_SECONDS = 90.0
# The listening socket is there before the API is, so a first look may wait for nothing.
_ANSWER_SECONDS = 1.5
_TICK_SECONDS = 0.2
# A process that ends this often while the stack starts will go on doing so.
_TRIES = 2


class StackError(Exception):
    """The stack cannot start; the message says why and what to do."""


class PortTaken(StackError):
    """Another process listens on the port."""


class AlreadyRunning(StackError):
    """Another stack uses the same folder."""


class NotLoopback(StackError):
    """The address can be reached from other machines, and there is no key by which to know who asks."""


@dataclass(frozen=True)
class StackOptions:
    """What `ttm up` can be told. Port 0 takes a free one. Everything the stack keeps lies under `var`.

    A database or broker that `environment` names (TTM_DATABASE_URL, TTM_BROKER_URL) is used instead of an embedded one.
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
    """Starts the stack on entering, and on leaving stops it in good order: workers first, the broker last.

    One thread starts, watches and stops all processes: the kernel ties "die with your parent" to the thread that
    forked, so it has to be one that lives as long as they do. `report` is told what happens to the processes; setting
    `stop` ends the stack, also while it starts.
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
            self._lock = self._take_lock()
            self._listener = self._listen()
        except BaseException:
            self._let_go()
            raise
        self._thread.start()
        try:
            self._ready.wait()
        except BaseException:  # Ctrl-C while it starts
            self.__exit__()
            raise
        if self._failure is not None:
            self._thread.join()
            self._let_go()
            raise self._failure
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._let_go()

    def check(self) -> None:
        """Raises what ended the watching thread, if something did."""
        if self._failure is not None:
            raise self._failure

    def _check_host(self, environment: Mapping[str, str]) -> None:
        host = self.options.host
        if host != "localhost" and not _is_loopback(host) and not _has_key(environment["TTM_DATABASE_URL"]):
            raise NotLoopback(
                f"Other machines reach {host}, and there is no key by which to know who asks. Make one first, "
                f"with: ttm keys create --scope admin --var {self.options.var}"
            )

    def _take_lock(self) -> IO[str]:
        self.options.var.mkdir(parents=True, exist_ok=True)
        path = self.options.var / "stack.lock"
        lock = path.open("a+")
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
        # The API inherits this socket: the port is taken once and for all, and callers wait while the API restarts.
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
                "Choose another port with --port, or --port 0 for a free one."
            ) from None
        host = f"[{self.options.host}]" if family == socket.AF_INET6 else self.options.host
        self.url = f"http://{host}:{listener.getsockname()[1]}"
        return listener

    def _run(self) -> None:
        try:
            self._start()
            self._ready.set()
            while not self._stop.wait(_TICK_SECONDS):
                self._keep_all()
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
        environment.setdefault("TTM_DATABASE_URL", f"sqlite:///{var / 'ttm.db'}")
        environment.setdefault("TTM_STORAGE_URL", f"file:{quote(str(var / 'storage'))}")
        environment.setdefault("TTM_WORK_DIR", str(var / "work"))
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
        self._await_ready()

    def _launch(self, service: Service) -> None:
        service.start()
        self.services.append(service)

    def _await_ready(self) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        while (waiting_for := self._waiting_for()) and not self._stop.wait(_TICK_SECONDS):
            fallen = [service for service in self.services if service.restarts >= _TRIES]
            if fallen or time.monotonic() > deadline:
                tails = "".join(f"\n--- {service.log}\n{service.tail()}" for service in fallen or self.services)
                raise StackError(f"The stack does not come up: no {waiting_for}. The logs end:{tails}")
            self._keep_all()
        if self._stop.is_set():
            raise StackError("Stopped while it was starting.")

    def _keep_all(self) -> None:
        if self._broker is not None and not self._broker.is_alive():
            self._report("the broker ended; starting it again")
            try:
                self._broker.start()
            except BrokerDidNotStart as error:
                self._report(error.message)
        for service in self.services:
            line = service.keep()
            if line is not None:
                self._report(line)

    def _waiting_for(self) -> str:
        """The parts that do not answer yet, by the API's own words; empty when all do."""
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
        # Workers save checkpoints and write to the database and broker, so those outlive them.
        workers = [service for service in self.services if service.name.startswith("worker")]
        for worker in workers:
            worker.ask_to_stop()
        for worker in workers:
            worker.stop()
        for service in reversed(self.services):
            service.stop()
        if self._broker is not None:
            self._broker.stop()

    def _let_go(self) -> None:
        if self._listener is not None:
            self._listener.close()
        if self._lock is not None:
            self._lock.close()


def _migrate(database_url: str) -> None:
    # Loaded here: the database's libraries take half a second, which `ttm jobs` need not wait for.
    from sqlalchemy.exc import SQLAlchemyError

    from ttm_jobs.database.migrate import upgrade

    try:
        upgrade(database_url)
    except (SQLAlchemyError, ValueError) as error:
        raise StackError(f"The database cannot be prepared: {error}") from error


def _has_key(database_url: str) -> bool:
    from ttm_jobs.database.engine import create_engine, read_scope
    from ttm_jobs.repositories.access import keys

    engine = create_engine(database_url)
    try:
        with read_scope(engine) as session:
            return keys.any_valid(session)
    finally:
        engine.dispose()


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
