"""Starts a separate RabbitMQ node on free loopback ports, if RabbitMQ is installed."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from ttm_jobs.broker import connection
from ttm_jobs.broker.embedded import free_port

INSTALLED = shutil.which("rabbitmq-server") is not None


class RabbitServer:
    """A RabbitMQ node with the guest account. Its files are deleted at exit."""

    def __init__(self) -> None:
        self.port = free_port()
        self._epmd_port = str(free_port())
        self._directory = Path(tempfile.mkdtemp(prefix="ttm-rabbitmq-"))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def start(self) -> None:
        """Blocks until the node accepts connections."""
        # Separate node name and ports avoid conflicts with another node on this machine.
        own = {
            "HOME": str(self._directory),
            "RABBITMQ_NODENAME": f"ttm{os.getpid()}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "ERL_EPMD_PORT": self._epmd_port,
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_MNESIA_BASE": str(self._directory / "data"),
            "RABBITMQ_LOG_BASE": str(self._directory / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._directory / "plugins"),
            "RABBITMQ_PID_FILE": str(self._directory / "pid"),
        }
        with (self._directory / "output").open("ab") as output:
            self._process = subprocess.Popen(
                [_server()], env={**os.environ, **own}, stdout=output, stderr=output, start_new_session=True
            )
        deadline = time.monotonic() + 90
        while not connection.ping(self.url):
            if self._process.poll() is not None or time.monotonic() > deadline:
                words = (self._directory / "output").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"RabbitMQ did not start:\n{words}")
            time.sleep(0.1)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._end_name_server()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _end_name_server(self) -> None:
        """Stops the Erlang name server, which the node starts and which would otherwise outlive it."""
        deadline = time.monotonic() + 10
        kill = ["epmd", "-port", self._epmd_port, "-kill"]
        while subprocess.run(kill, capture_output=True, check=False).returncode != 0 and time.monotonic() < deadline:
            time.sleep(0.1)


def _server() -> str:
    # Debian's wrapper switches to an account that cannot read the test's folder.
    plain = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
    return str(plain) if plain.exists() else "rabbitmq-server"
