"""A supervised process: its log, restarts and shutdown."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ttm_jobs.processes import PRIVATE_UMASK, die_with_parent

_LOG_BYTES = 32 << 20
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
# After this time the process counts as healthy, and its backoff starts over.
_HEALTHY_SECONDS = 60.0


@dataclass
class Service:
    """One long-running process of the stack. It runs in its own session, so Ctrl-C reaches only the stack."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    stop_seconds: float
    pass_fds: tuple[int, ...] = ()
    restarts: int = 0
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _started_at: float = 0.0
    _failures: int = 0
    _not_before: float = 0.0

    @property
    def pid(self) -> int | None:
        """The process id; None while the process is not running."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Starts the process and appends its output to its log."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.rotate_log()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=self.pass_fds,
                umask=PRIVATE_UMASK,
                # SIGTERM lets a worker save a checkpoint when the stack was killed.
                preexec_fn=die_with_parent(signal.SIGTERM),
            )
        self._started_at = time.monotonic()

    def rotate_log(self, max_bytes: int = _LOG_BYTES) -> None:
        """Copies a log larger than this to NAME.1.log and empties it. The process keeps the file open and appends to
        it; lines that it writes during the copy are lost.
        """
        if self.log.exists() and self.log.stat().st_size > max_bytes:
            shutil.copyfile(self.log, self.log.with_suffix(".1.log"))
            os.truncate(self.log, 0)

    def restart_if_exited(self) -> str | None:
        """Restarts the process if it exited and its backoff is over. Returns a message when it exits."""
        now = time.monotonic()
        if self._process is not None:
            code = self._process.poll()
            if code is None:
                return None
            self._process = None
            self._failures = 1 if now - self._started_at > _HEALTHY_SECONDS else self._failures + 1
            pause = min(_FIRST_PAUSE * 2.0 ** (self._failures - 1), _LONGEST_PAUSE)
            self._not_before = now + pause
            return f"{self.name} exited ({_ending(code)}); restarting it in {pause:g} s; log: {self.log}"
        if now >= self._not_before:
            self.restarts += 1
            self.start()
        return None

    def terminate(self) -> None:
        """Sends SIGTERM if the process is running."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def stop(self) -> None:
        """Sends SIGTERM, and SIGKILL after `stop_seconds`. Returns when the process has exited."""
        self.terminate()
        if self._process is not None:
            try:
                self._process.wait(self.stop_seconds)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def tail(self, lines: int = 15) -> str:
        """The last lines of the log."""
        if not self.log.exists():
            return ""
        with self.log.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 8192))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])


def _ending(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
