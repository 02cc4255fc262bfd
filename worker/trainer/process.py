"""The trainer's process group: start, events, stop, kill."""

import logging
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event as Flag
from threading import Thread
from typing import BinaryIO

from ttm_core.spec.events import Event, decode
from ttm_jobs.telemetry import logs
from worker.background import run_until
from worker.trainer import resources
from worker.trainer.log import LogFile
from worker.trainer.starter import Started, Starter, TrainerProcess

logger = logging.getLogger(__name__)

_MAX_LINE_BYTES = 4 * 1024**2
# A process can write about 1 GiB to new memory in this time.
_MEMORY_SECONDS = 0.2


@dataclass(frozen=True)
class Exited:
    """The trainer exited; a negative code is a signal. No event follows."""

    returncode: int


class Trainer:
    """One trainer process with its children.

    It dies with the thread that started it. Its events are queued in this process, so a slow database does not delay
    it. It is killed if its processes hold more private memory than `memory_bytes`; `exceeded` is then what they held.
    """

    def __init__(self, starter: Starter, workdir: Path, *, log: LogFile, memory_bytes: int | None = None) -> None:
        self._starter = starter
        self._workdir = workdir
        self._log = log
        self._items: SimpleQueue[Event | Exited] = SimpleQueue()
        self._process: TrainerProcess | None = None
        self._memory_bytes = memory_bytes
        self._exited = Flag()
        self.exceeded: int | None = None

    def start(self, *, network: bool = False, data_roots: Sequence[Path] | None = None) -> None:
        """Starts the trainer. `network` allows connections to other hosts. `data_roots` are the folders that it may
        read, by default those of the settings.
        """
        started = self._starter.start(self._workdir, network=network, data_roots=data_roots)
        process = started.process
        self._process = process
        assert process.stdout is not None
        readers = [
            logs.thread(self._read_events, os.fdopen(started.events, "rb")),
            logs.thread(self._log.copy, process.stdout),
        ]
        for thread in readers:
            thread.start()
        logs.thread(self._wait, started, readers).start()
        if self._memory_bytes is not None:
            watch = partial(self._watch_memory, process.pid, self._memory_bytes)
            logs.thread(run_until, self._exited, watch, "memory limit").start()

    @property
    def pid(self) -> int:
        """The process id, which is also the process group id."""
        if self._process is None:
            raise RuntimeError("the trainer is not started")
        return self._process.pid

    def next(self, timeout: float) -> Event | Exited | None:
        """Returns the next event, finally `Exited`; None after `timeout` seconds."""
        try:
            return self._items.get(timeout=timeout)
        except Empty:
            return None

    def stop(self) -> None:
        """Asks the trainer to save a checkpoint and exit. The trainer stops its own children."""
        self._signal(lambda pid: os.kill(pid, signal.SIGTERM))

    def kill(self) -> None:
        """Kills the whole process group."""
        self._signal(lambda pid: os.killpg(pid, signal.SIGKILL))
        if self._process is not None and not self._exited.is_set():
            self._process.require_exit()

    def end(self) -> None:
        """Kills the process group and waits for its end, after which nothing writes to the work directory."""
        if self._process is not None:
            self.kill()
            self._exited.wait(timeout=30)

    def _signal(self, send: Callable[[int], None]) -> None:
        # The pid cannot be reused before the process is reaped.
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                send(self._process.pid)

    def _read_events(self, pipe: BinaryIO) -> None:
        with pipe:
            while line := pipe.readline(_MAX_LINE_BYTES):
                try:
                    self._items.put(decode(line))
                except ValueError as error:
                    logger.warning("the trainer wrote an invalid event: %s", str(error).splitlines()[0])

    def _watch_memory(self, pgid: int, limit: int) -> None:
        while not self._exited.wait(_MEMORY_SECONDS):
            if (held := resources.held_by_group(pgid)) > limit:
                self.exceeded = held
                self.kill()
                return

    def _wait(self, started: Started, readers: Sequence[Thread]) -> None:
        process = started.process
        # As long as the leader is a zombie, its pid still identifies the group.
        process.wait_for_exit()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        returncode = process.reap()
        try:
            if started.group is not None:
                if started.group.oom_killed() and self.exceeded is None:
                    self.exceeded = self._memory_bytes
                started.group.remove()
            for thread in readers:
                thread.join(timeout=10)
        finally:
            self._items.put(Exited(returncode))
            self._exited.set()
