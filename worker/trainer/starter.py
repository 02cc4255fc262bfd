"""Starts trainers: forked from a process that has imported their libraries, or as new processes."""

import logging
import os
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Protocol

from ttm_jobs.processes import die_with_parent
from ttm_jobs.settings import Settings
from worker.trainer.fork_server import ForkServer
from worker.trainer.memory.cgroups import Group
from worker.trainer.memory.trainer_groups import TrainerGroups
from worker.trainer.sandbox import environment, prefix

logger = logging.getLogger(__name__)

_FORK_SERVER = "-"

# Device and inode of a folder; None if it does not exist.
_Identity = tuple[int, int] | None


class TrainerProcess(Protocol):
    """The leader of a trainer's process group. Its output is read from `stdout`."""

    pid: int
    returncode: int | None

    @property
    def stdout(self) -> IO[bytes] | None: ...

    def wait_for_exit(self) -> None:
        """Waits without reaping."""

    def require_exit(self) -> None:
        """Ensures that the exit of this process, which was killed, is reported."""

    def reap(self) -> int:
        """Reaps the process, which has exited, and returns its exit status. A negative one is a signal."""


class SpawnedProcess(subprocess.Popen[bytes]):
    """A trainer that is a child of this process."""

    def wait_for_exit(self) -> None:
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)

    def require_exit(self) -> None:
        pass  # the kernel reports it

    def reap(self) -> int:
        return self.wait()


@dataclass(frozen=True)
class Started:
    """A trainer process with its own process group, the file descriptor of its events, and its control group."""

    process: TrainerProcess
    events: int
    group: Group | None


class Starter:
    """Starts trainers. With `standby`, they are forked from a process that was started ahead of time.

    Importing PyTorch and timm takes seconds. The fork server has imported them, has used no device and read no file of
    a job. Each trainer runs one job.

    Appends the work directory and `--events-fd N` (or `-` and `--socket-fd N` for the fork server) to `command`, and
    runs it in the sandbox of `settings`, if given. Trainers have `marks` in their environment, are in a control group
    of `groups`, if given, and die with the thread that started them or the fork server.

    The sandbox of the fork server has the folders that existed when it started. If one was deleted or mounted since, as
    by a job that cleans up `/tmp`, the next trainer gets a process of its own, and then there is a new fork server.
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
        self._temporary = _temporary_folder()
        self._marks = marks
        self._standby = standby
        self._server: ForkServer | None = None
        self._server_folders: list[_Identity] = []

    @property
    def server_pid(self) -> int | None:
        """The process id of the fork server; None if there is none."""
        return None if self._server is None else self._server.pid

    @property
    def temporary_folder(self) -> Path:
        """The folder for temporary files of trainers."""
        return Path(self._temporary.name)

    def prepare(self) -> None:
        """Starts the fork server unless it is running. For idle times: it blocks for the start of a process."""
        self._replace_folders()
        if not self._standby or (self._server is not None and self._server.is_running):
            return
        self.end()
        try:
            self._server = self._start_server()
        except OSError as error:
            logger.warning("The fork server could not be started: %s", error)

    def start(self, workdir: Path, *, network: bool = False, data_roots: Sequence[Path] | None = None) -> Started:
        """Starts the trainer of a work directory, which may read `data_roots`, by default those of the settings.

        Forks it if there is a fork server. The fork server has no network access and may read the folders of the
        settings, so `network` and `data_roots` always start a new process.
        """
        self._replace_folders()
        if self._server is not None and not network and data_roots is None:
            if (forked := self._server.fork(workdir)) is not None:
                process, events = forked
                return Started(process, events, self._group(process.pid))
            logger.warning("The fork server does not answer; starting a new process.")
            self.end()
        return self._spawn(workdir, network=network, data_roots=data_roots)

    def end(self) -> None:
        """Ends the fork server."""
        server, self._server = self._server, None
        if server is not None:
            server.end()

    def _replace_folders(self) -> None:
        """Creates the temporary folder if something deleted it. Ends the fork server if one of its folders is another
        one now.
        """
        if not self.temporary_folder.is_dir():
            logger.warning("The temporary folder %s was deleted. A new one is used.", self._temporary.name)
            self._temporary.cleanup()
            self._temporary = _temporary_folder()
        if self._server is not None and self._server_folders != self._folders():
            logger.warning("Folders of the trainers' sandbox were deleted or mounted. The fork server starts again.")
            self.end()

    def _folders(self) -> list[_Identity]:
        settings = self._settings
        own = [] if settings is None else [settings.work_dir, *settings.data_roots]
        return [_identity(folder) for folder in (self.temporary_folder, *own)]

    def _start_server(self) -> ForkServer:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with theirs:
                arguments = [_FORK_SERVER, "--socket-fd", str(theirs.fileno())]
                process = self._popen(arguments, theirs.fileno(), stdout=subprocess.DEVNULL, stderr=None)
        except BaseException:
            ours.close()
            raise
        self._server_folders = self._folders()
        return ForkServer(process, ours)

    def _spawn(self, workdir: Path, *, network: bool, data_roots: Sequence[Path] | None) -> Started:
        reader, writer = os.pipe()
        try:
            process = self._popen(
                [str(workdir), "--events-fd", str(writer)],
                writer,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                network=network,
                data_roots=data_roots,
            )
        except BaseException:
            os.close(reader)
            raise
        finally:
            os.close(writer)
        return Started(process, reader, self._group(process.pid))

    def _popen(
        self,
        arguments: Sequence[str],
        descriptor: int,
        *,
        stdout: int,
        stderr: int | None,
        network: bool = False,
        data_roots: Sequence[Path] | None = None,
    ) -> SpawnedProcess:
        """Runs the command with `arguments`, in the sandbox. It inherits `descriptor`."""
        temporary, settings = self._temporary.name, self._settings
        confined = (
            []
            if settings is None
            else prefix(settings, self._command, temporary, network=network, data_roots=data_roots)
        )
        return SpawnedProcess(
            [*confined, *self._command, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            pass_fds=(descriptor,),
            env={**environment(), **_engine_settings(settings), **self._marks, "TMPDIR": temporary},
            start_new_session=True,
            # The sandbox sets its own death signal. Without a function to call, Python does not fork this process.
            preexec_fn=None if confined else die_with_parent(),
        )

    def _group(self, pid: int) -> Group | None:
        """The control group of a process that has just started."""
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


def _engine_settings(settings: Settings | None) -> dict[str, str]:
    """The settings that the engine reads from its environment (reader/limits.py and export/measure.py)."""
    if settings is None:
        return {}
    named = {} if settings.device_name is None else {"TTM_DEVICE_NAME": settings.device_name}
    return named | {
        "TTM_READER_MEMORY_BYTES": str(settings.reader_memory_bytes),
        "TTM_READER_SECONDS": str(settings.reader_seconds),
    }


def _temporary_folder() -> "TemporaryDirectory[str]":
    # A short path, because it contains sockets.
    return TemporaryDirectory(prefix="ttm-", ignore_cleanup_errors=True)


def _identity(folder: Path) -> _Identity:
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
