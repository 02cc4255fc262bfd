"""Word of a long station that tells nothing itself."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# A tenth of the time is more than a process that hangs takes, and less than one that reads files.
_BUSY_SHARE = 0.1


@contextmanager
def keepalive(tell: Callable[[float], None], *, interval: float = 20.0) -> Iterator[None]:
    """Calls `tell` with the seconds since the start at every `interval` (seconds) in which this process was at work.

    A process that waits for a disk that does not answer gives no sign, so that whoever listens finds out. `tell` is
    called by a thread of its own, and not after the block.
    """
    over = threading.Event()

    def watch() -> None:
        started, worked = time.monotonic(), time.process_time()
        while not over.wait(interval):
            before, worked = worked, time.process_time()
            if worked - before >= _BUSY_SHARE * interval:
                tell(time.monotonic() - started)

    thread = threading.Thread(target=watch, name="signs-of-life", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
