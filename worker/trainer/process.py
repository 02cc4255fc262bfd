"""The trainer's process group: started, listened to, asked to stop, killed."""

import logging
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event as Flag
from threading import Thread
from typing import BinaryIO

from ttm_core.spec.events import Event, decode
from ttm_jobs.telemetry import logs
from worker.trainer.log import LogFile
from worker.trainer.standby import Starter

logger = logging.getLogger(__name__)

_LONGEST_LINE = 4 * 1024**2


@dataclass(frozen=True)
class Exited:
    """The trainer ended; negative numbers are signals. No event follows."""

    returncode: int


class Trainer:
    """One trainer process and all that it starts.

    It dies with the thread that calls `start`, or that had it started ahead. Its events wait in a queue of this
    process, so that a slow database never holds it up.
    """

    def __init__(self, starter: Starter, workdir: Path, *, log: LogFile) -> None:
        self._starter = starter
        self._workdir = workdir
        self._log = log
        self._items: SimpleQueue[Event | Exited] = SimpleQueue()
        self._process: subprocess.Popen[bytes] | None = None
        self._gone = Flag()

    def start(self, *, network: bool = False) -> None:
        """`network`: whether it is to reach other hosts."""
        started = self._starter.start(self._workdir, network=network)
        process = started.process
        self._process = process
        assert process.stdout is not None
        readers = [
            logs.thread(self._read_events, os.fdopen(started.events, "rb")),
            logs.thread(self._log.copy, process.stdout),
        ]
        for thread in readers:
            thread.start()
        logs.thread(self._wait, process, readers).start()

    @property
    def pid(self) -> int:
        """Also the id of its process group."""
        if self._process is None:
            raise RuntimeError("the trainer is not started")
        return self._process.pid

    def next(self, timeout: float) -> Event | Exited | None:
        """The next event in order, at last `Exited`; None if nothing came in `timeout` seconds."""
        try:
            return self._items.get(timeout=timeout)
        except Empty:
            return None

    def stop(self) -> None:
        """Asks it to save a checkpoint and leave. Its own children are its own affair: they serve it until then."""
        self._signal(lambda pid: os.kill(pid, signal.SIGTERM))

    def kill(self) -> None:
        """Ends the whole group at once."""
        self._signal(lambda pid: os.killpg(pid, signal.SIGKILL))

    def end(self) -> None:
        """Kills what is left of it and waits until it is gone: then nobody writes into the work directory any more."""
        if self._process is not None:
            self.kill()
            self._gone.wait(timeout=30)

    def _signal(self, send: Callable[[int], None]) -> None:
        # Until the process is reaped its number cannot belong to anyone else.
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                send(self._process.pid)

    def _read_events(self, pipe: BinaryIO) -> None:
        with pipe:
            while line := pipe.readline(_LONGEST_LINE):
                try:
                    self._items.put(decode(line))
                except ValueError as error:
                    logger.warning("trainer told something that is no event: %s", str(error).splitlines()[0])

    def _wait(self, process: "subprocess.Popen[bytes]", readers: Sequence[Thread]) -> None:
        # Waited for without reaping first: as long as the leader is a zombie, its number still names its group.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        returncode = process.wait()
        for thread in readers:
            thread.join(timeout=10)
        self._items.put(Exited(returncode))
        self._gone.set()
