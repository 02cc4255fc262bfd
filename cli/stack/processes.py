"""A process that is kept running: its log, its restarts, its orderly end."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ttm_jobs.processes import die_with_parent

_LOG_BYTES = 32 << 20
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
# A process that lived this long was healthy: its next death starts the pauses anew.
_HEALTHY_SECONDS = 60.0


@dataclass
class Service:
    """One long-running process of the stack, in a session of its own so that Ctrl-C reaches only the stack."""

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
        """The process's id, None while it is not running."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Start the process; its output is appended to its log."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.log.exists() and self.log.stat().st_size > _LOG_BYTES:
            self.log.replace(self.log.with_suffix(".1.log"))
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=self.pass_fds,
                # SIGTERM, so that a worker whose stack was killed still saves its checkpoint.
                preexec_fn=die_with_parent(signal.SIGTERM),
            )
        self._started_at = time.monotonic()

    def keep(self) -> str | None:
        """Start the process again if it has died and its pause is over. A line for people when something happened."""
        now = time.monotonic()
        if self._process is not None:
            code = self._process.poll()
            if code is None:
                return None
            self._process = None
            self._failures = 1 if now - self._started_at > _HEALTHY_SECONDS else self._failures + 1
            pause = min(_FIRST_PAUSE * 2.0 ** (self._failures - 1), _LONGEST_PAUSE)
            self._not_before = now + pause
            return f"{self.name} ended ({_ending(code)}); starting it again in {pause:g} s, its log is {self.log}"
        if now >= self._not_before:
            self.restarts += 1
            self.start()
        return None

    def ask_to_stop(self) -> None:
        """SIGTERM, if it runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def stop(self) -> None:
        """SIGTERM, and SIGKILL after `stop_seconds`. Returns when the process is gone."""
        self.ask_to_stop()
        if self._process is not None:
            try:
                self._process.wait(self.stop_seconds)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def tail(self, lines: int = 15) -> str:
        """The end of the log, for an error message."""
        if not self.log.exists():
            return ""
        with self.log.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 8192))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])


def _ending(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
