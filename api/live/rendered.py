"""A cache of rendered jobs. For an unchanged job, a request reads only its version from the database."""

import math
import threading
import time
from collections import OrderedDict

from ttm_jobs.repositories.jobs.crud import Stamp

# An entry has a few kilobytes.
_MAX_ENTRIES = 1024


class RenderedJobs:
    """Response bodies by job and stamp, shared by the threads of a process.

    An entry with an outdated stamp is never read again and is evicted in time.
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

    def put(self, job_id: str, stamp: Stamp, body: bytes, *, seconds: float | None = None) -> None:
        """Stores a body for `seconds`, or until it is evicted."""
        until = math.inf if seconds is None else time.monotonic() + seconds
        with self._lock:
            self._bodies[job_id, stamp] = body, until
            while len(self._bodies) > _MAX_ENTRIES:
                self._bodies.popitem(last=False)
