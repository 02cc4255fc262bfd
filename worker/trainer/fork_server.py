"""The process that trainers are forked from. ttm_core/fork_server.py describes the messages."""

import json
import logging
import os
import signal
import socket
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Event as Flag
from typing import Any

from ttm_jobs.telemetry import logs

logger = logging.getLogger(__name__)

# The imports of a trainer took 11 s on the slowest CPU that was measured.
_READY_SECONDS, _FORK_SECONDS, _EXIT_SECONDS = 60.0, 10.0, 20.0
_MAX_BYTES = 1 << 16


class ForkedProcess:
    """A forked trainer, which leads a process group. It is a zombie until its server is asked to reap it."""

    def __init__(self, output: int, reap: Callable[[int], None], end_server: Callable[[], None]) -> None:
        self.pid = 0
        self.stdout = os.fdopen(output, "rb")
        self.returncode: int | None = None
        self._reap = reap
        self._end_server = end_server
        self._started, self._exited = Flag(), Flag()
        self._code = -int(signal.SIGKILL)

    def wait_for_start(self, seconds: float) -> bool:
        """Whether the process has started within this time."""
        return self._started.wait(seconds) and self.pid != 0

    def wait_for_exit(self) -> None:
        """Waits without reaping."""
        self._exited.wait()

    def require_exit(self) -> None:
        """Kills the server unless it reports the exit of this process, which was killed, within seconds."""
        logs.thread(self._require_exit).start()

    def _require_exit(self) -> None:
        if not self._exited.wait(_EXIT_SECONDS):
            logger.warning("The fork server did not report the end of trainer %d; ending it.", self.pid)
            self._end_server()

    def reap(self) -> int:
        """Reaps the process, which has exited, and returns its exit status. A negative one is a signal."""
        self._reap(self.pid)
        self.returncode = self._code
        return self._code

    def set_started(self, pid: int) -> None:
        self.pid = pid
        self._started.set()

    def set_exited(self, code: int) -> None:
        self._code = code
        self.set_lost()

    def set_lost(self) -> None:
        """Its server has ended, and with it the process."""
        self._started.set()
        self._exited.set()


class ForkServer:
    """Forks trainers from `process`, which serves the other end of `connection`."""

    def __init__(self, process: "subprocess.Popen[bytes]", connection: socket.socket) -> None:
        self._process = process
        self._connection = connection
        self._ready, self._ended = Flag(), Flag()
        self._starting: ForkedProcess | None = None
        self._trainers: dict[int, ForkedProcess] = {}
        self._receiver = logs.thread(self._receive)
        self._receiver.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return not self._ended.is_set() and self._process.poll() is None

    def fork(self, workdir: Path) -> tuple[ForkedProcess, int] | None:
        """Forks the trainer of a work directory, once the libraries are imported.

        Returns the process and the file descriptor of its events, or None if the server has ended or does not answer.
        """
        if not self._ready.wait(_READY_SECONDS) or not self.is_running:
            return None
        events, events_writer = os.pipe()
        try:
            output, output_writer = os.pipe()
        except OSError:  # too many open files
            os.close(events)
            os.close(events_writer)
            raise
        process = self._starting = ForkedProcess(output, self._reap, self._process.kill)
        with suppress(OSError):
            request = json.dumps({"workdir": str(workdir)}).encode()
            socket.send_fds(self._connection, [request], [events_writer, output_writer])
        os.close(events_writer)
        os.close(output_writer)
        if process.wait_for_start(_FORK_SECONDS):
            return process, events
        process.stdout.close()
        os.close(events)
        return None

    def end(self) -> None:
        """Kills the server, and with it its trainers."""
        self._process.kill()
        self._process.wait()
        self._receiver.join()

    def _reap(self, pid: int) -> None:
        self._trainers.pop(pid, None)
        with suppress(OSError):
            self._connection.send(json.dumps({"reap": pid}).encode())

    def _receive(self) -> None:
        """Handles messages until the server ends."""
        try:
            with self._connection, suppress(OSError):
                while message := self._connection.recv(_MAX_BYTES):
                    self._handle(json.loads(message))
        except Exception:
            # Its trainers count as lost, and the next one is started without it.
            logger.exception("The messages of the fork server cannot be handled.")
        self._ended.set()
        self._ready.set()
        lost = [*self._trainers.values(), *([self._starting] if self._starting is not None else [])]
        for process in lost:
            process.set_lost()

    def _handle(self, message: Any) -> None:
        match message:
            case {"forked": int(pid)} if self._starting is not None:
                self._trainers[pid] = self._starting
                self._starting.set_started(pid)
            case {"exited": int(pid), "returncode": int(code)}:
                self._trainers[pid].set_exited(code)
            case _:
                self._ready.set()
