"""A trainer that is started before there is work for it.

Importing PyTorch and timm takes seconds that each job would wait for. So a worker keeps one trainer that has imported
them, has touched no device and has read nothing, and waits on its standard input for a work directory. It is used
once: the next job has a fresh process.
"""

import logging
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from ttm_jobs.processes import die_with_parent
from ttm_jobs.settings import Settings
from worker.trainer.sandbox import prefix

logger = logging.getLogger(__name__)

_TOLD_LATER = "-"
# The trainer reads strangers' files: it is given no address or key of this service, by whatever name it goes.
_SECRET = re.compile(
    r"(TTM|CELERY|PG|POSTGRES|AWS|REDIS|VALKEY|RABBITMQ|AMQP|BROKER|DATABASE|DB)"
    r"|.*(SECRET|PASSWORD|PASSWD|CREDENTIAL|_TOKEN$|_KEY$|_DSN$)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Started:
    """A trainer's process, a group of its own, and the descriptor from which its events are read."""

    process: "subprocess.Popen[bytes]"
    events: int


class Starter:
    """Starts trainers, ahead of time where `standby` is set.

    `command` is completed by the work directory, or by `-` for one that is told on standard input, and by
    `--events-fd N`, and confined as `settings` say where they are given. What it starts carries `marks` in its
    environment and dies with the thread that asked for it.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        marks: Mapping[str, str],
        standby: bool = False,
        settings: Settings | None = None,
    ) -> None:
        self._settings = settings
        self._command = command
        # A short path: sockets between a trainer's processes lie in it.
        self._temporary = TemporaryDirectory(prefix="ttm-", ignore_cleanup_errors=True)
        self._marks = marks
        self._standby = standby
        self._waiting: Started | None = None

    def prepare(self) -> None:
        """Have a trainer wait, unless one does already. To be called where nothing else is to be done."""
        if not self._standby or (self._waiting is not None and self._waiting.process.poll() is None):
            return
        self._drop()
        try:
            self._waiting = self._start(_TOLD_LATER, stdin=subprocess.PIPE)
        except OSError as error:
            logger.warning("no trainer was started ahead of the next job: %s", error)

    def start(self, workdir: Path, *, network: bool = False) -> Started:
        """The trainer of a work directory: the one that waits, which reaches no other host, or a new one."""
        if network:
            return self._start(str(workdir), stdin=subprocess.DEVNULL, network=True)
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            if self._handed_over(waiting, workdir):
                return waiting
            logger.warning("the trainer that waited is gone (%s): starting another", waiting.process.poll())
            _end(waiting)
        return self._start(str(workdir), stdin=subprocess.DEVNULL)

    def end(self) -> None:
        """Ends the trainer that waits."""
        self._drop()

    def _drop(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            _end(waiting)

    def _handed_over(self, waiting: Started, workdir: Path) -> bool:
        stdin = waiting.process.stdin
        assert stdin is not None, "it was started with a pipe"
        if waiting.process.poll() is not None:
            return False
        with suppress(OSError), stdin:
            stdin.write(os.fsencode(workdir) + b"\n")
            stdin.flush()
            return True
        return False

    def _start(self, workdir: str, *, stdin: int, network: bool = False) -> Started:
        temporary = self._temporary.name
        settings = self._settings
        confined = [] if settings is None else prefix(settings, self._command, temporary, network=network)
        reader, writer = os.pipe()
        try:
            process = subprocess.Popen(
                [*confined, *self._command, workdir, "--events-fd", str(writer)],
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(writer,),
                env={**_environment(), **self._marks, "TMPDIR": temporary},
                start_new_session=True,
                preexec_fn=die_with_parent(),
            )
        except BaseException:
            os.close(reader)
            raise
        finally:
            os.close(writer)
        return Started(process, reader)


def _end(started: Started) -> None:
    """It has written nothing and started nothing: killed, and its descriptors closed."""
    started.process.kill()
    started.process.wait()
    os.close(started.events)
    for pipe in (started.process.stdin, started.process.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if _SECRET.match(name) is None}
