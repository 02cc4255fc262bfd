"""A progress bar of one line for terminals and notebooks."""

import sys
from typing import TextIO

from ttm_client.models.jobs import Job

_WIDTH = 30


class ProgressLine:
    """Redraws one line while the job runs. In a file or a pipe, writes one line per state instead."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stderr
        # A notebook's stream is not a terminal but supports carriage returns.
        self._live = self._out.isatty() or type(self._out).__module__.startswith("ipykernel")
        self._last = ""

    def __call__(self, job: Job) -> None:
        """Draws the job's current progress, and ends the line once the job has ended."""
        if self._live:
            line = _line(job)
            self._out.write("\r" + line.ljust(len(self._last)) + ("\n" if job.done else ""))
            self._last = line
        elif job.state != self._last:
            self._out.write(f"{job.state}\n")
            self._last = job.state
        self._out.flush()


def _line(job: Job) -> str:
    parts = [job.phase or job.state]
    if job.progress is not None:
        filled = round(job.progress.fraction * _WIDTH)
        parts = [f"{'█' * filled}{'░' * (_WIDTH - filled)} {job.progress.fraction:4.0%}", *parts]
        if job.progress.eta_seconds is not None and not job.done:
            parts.append(f"{job.progress.eta_seconds:.0f} s left")
    if job.accuracy is not None and job.accuracy.student is not None:
        parts.append(f"top-1 {job.accuracy.student:.2%}")
    return "  ".join(parts)
