"""Standby trainers, started before there is a job.

Importing PyTorch and timm takes seconds. An idle worker therefore keeps one trainer that has imported them, has used no
device and read no file, and waits on standard input for a work directory. Each trainer runs one job.
"""

import logging
import os
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from ttm_jobs.processes import die_with_parent
from ttm_jobs.settings import Settings
from worker.trainer.memory.cgroups import Group
from worker.trainer.memory.trainer_groups import TrainerGroups
from worker.trainer.sandbox import environment, prefix

logger = logging.getLogger(__name__)

_WORKDIR_FROM_STDIN = "-"


@dataclass(frozen=True)
class Started:
    """A trainer process with its own process group, the file descriptor of its events, and its control group."""

    process: "subprocess.Popen[bytes]"
    events: int
    group: Group | None


class Starter:
    """Starts trainers, ahead of time if `standby` is set.

    Appends the work directory (or `-` to read it from standard input) and `--events-fd N` to `command`, and runs it in
    the sandbox of `settings`, if given. Trainers have `marks` in their environment, are in a control group of
    `groups`, if given, and die with the thread that started them.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        marks: Mapping[str, str],
        standby: bool = False,
        settings: Settings | None = None,
        groups: TrainerGroups | None = None,
    ) -> None:
        self._settings = settings
        self._groups = groups
        self._command = command
        # A short path, because it contains sockets.
        self._temporary = TemporaryDirectory(prefix="ttm-", ignore_cleanup_errors=True)
        self._marks = marks
        self._standby = standby
        self._pending: Started | None = None

    def prepare(self) -> None:
        """Start a standby trainer unless one is waiting. For idle times: it blocks for the start of a process."""
        if not self._standby or (self._pending is not None and self._pending.process.poll() is None):
            return
        self._drop()
        try:
            self._pending = self._start(_WORKDIR_FROM_STDIN, stdin=subprocess.PIPE)
        except OSError as error:
            logger.warning("The standby trainer could not be started: %s", error)

    def start(self, workdir: Path, *, network: bool = False, data_roots: Sequence[Path] | None = None) -> Started:
        """Start the trainer of a work directory, which may read `data_roots`, by default those of the settings.

        Uses the standby trainer if there is one. The standby trainer has no network access and may read the folders of
        the settings, so `network` and `data_roots` always start a new process.
        """
        if network or data_roots is not None:
            return self._start(str(workdir), stdin=subprocess.DEVNULL, network=network, data_roots=data_roots)
        waiting, self._pending = self._pending, None
        if waiting is not None:
            if self._hand_over(waiting, workdir):
                return waiting
            logger.warning("The standby trainer exited with status %s; starting a new one.", waiting.process.poll())
            _end(waiting)
        return self._start(str(workdir), stdin=subprocess.DEVNULL)

    def end(self) -> None:
        """End the standby trainer."""
        self._drop()

    def _drop(self) -> None:
        waiting, self._pending = self._pending, None
        if waiting is not None:
            _end(waiting)

    def _hand_over(self, waiting: Started, workdir: Path) -> bool:
        stdin = waiting.process.stdin
        assert stdin is not None, "a standby trainer has a pipe as standard input"
        if waiting.process.poll() is not None:
            return False
        with suppress(OSError), stdin:
            stdin.write(os.fsencode(workdir) + b"\n")
            stdin.flush()
            return True
        return False

    def _start(
        self, workdir: str, *, stdin: int, network: bool = False, data_roots: Sequence[Path] | None = None
    ) -> Started:
        temporary = self._temporary.name
        settings = self._settings
        confined = (
            []
            if settings is None
            else prefix(settings, self._command, temporary, network=network, data_roots=data_roots)
        )
        reader, writer = os.pipe()
        try:
            process = subprocess.Popen(
                [*confined, *self._command, workdir, "--events-fd", str(writer)],
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(writer,),
                env={**environment(), **_engine_settings(settings), **self._marks, "TMPDIR": temporary},
                start_new_session=True,
                # The sandbox sets its own death signal. Without a function to call, Python does not fork this process.
                preexec_fn=None if confined else die_with_parent(),
            )
        except BaseException:
            os.close(reader)
            raise
        finally:
            os.close(writer)
        return Started(process, reader, self._group(process.pid))

    def _group(self, pid: int) -> Group | None:
        """The control group of a process that has just started and holds no memory yet."""
        group = None if self._groups is None else self._groups.create()
        if group is None:
            return None
        try:
            group.add(pid)
        except OSError as error:
            logger.warning("A trainer runs outside its control group: %s", error)
            group.remove()
            return None
        return group


def _end(started: Started) -> None:
    """Kill a trainer that has no job and close its file descriptors."""
    started.process.kill()
    started.process.wait()
    if started.group is not None:
        started.group.remove()
    os.close(started.events)
    for pipe in (started.process.stdin, started.process.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()


def _engine_settings(settings: Settings | None) -> dict[str, str]:
    """The settings that the engine reads from its environment (reader/limits.py and export/measure.py)."""
    if settings is None:
        return {}
    named = {} if settings.device_name is None else {"TTM_DEVICE_NAME": settings.device_name}
    return named | {
        "TTM_READER_MEMORY_BYTES": str(settings.reader_memory_bytes),
        "TTM_READER_SECONDS": str(settings.reader_seconds),
    }
