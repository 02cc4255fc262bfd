"""Jobs as they were last written out, for those who ask again: of one that has not changed only a stamp is read."""

import math
import threading
import time
from collections import OrderedDict

from ttm_jobs.repositories.jobs.crud import Stamp

# Some kilobytes each.
_KEPT = 1024


class RenderedJobs:
    """Bodies by job and stamp, shared by the threads of a process. A body under a stamp that the row has no more is
    never asked for, and goes with time.
    """

    def __init__(self) -> None:
        self._bodies: OrderedDict[tuple[str, Stamp], tuple[bytes, float]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, job_id: str, stamp: Stamp) -> bytes | None:
        with self._lock:
            body, until = self._bodies.get((job_id, stamp), (None, 0.0))
            if body is None or until < time.monotonic():
                return None
            self._bodies.move_to_end((job_id, stamp))
            return body

    def keep(self, job_id: str, stamp: Stamp, body: bytes, *, seconds: float | None = None) -> None:
        """For so many seconds, or for good."""
        until = math.inf if seconds is None else time.monotonic() + seconds
        with self._lock:
            self._bodies[job_id, stamp] = body, until
            while len(self._bodies) > _KEPT:
                self._bodies.popitem(last=False)
