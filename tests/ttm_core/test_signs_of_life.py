"""A long station is told of while it works, and not while it hangs."""

import threading
import time

from ttm_core.pipeline.keepalive import keepalive


def test_work_gives_signs_and_the_end_ends_them():
    told: list[float] = []
    heard = threading.Event()

    def tell(seconds: float) -> None:
        told.append(seconds)
        heard.set()

    with keepalive(tell, interval=0.05):
        deadline = time.monotonic() + 20
        while not heard.is_set():
            assert time.monotonic() < deadline, "no sign of life"
    assert told[0] >= 0.05
    assert "signs-of-life" not in {thread.name for thread in threading.enumerate()}


def test_waiting_gives_none():
    told: list[float] = []
    with keepalive(told.append, interval=0.1):
        threading.Event().wait(0.5)
    assert told == []
