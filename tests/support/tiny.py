"""How the tiny trainer is started, and how to wait for what it does."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

TINY_TRAINER = (sys.executable, str(Path(__file__).with_name("tiny_trainer.py")))


def wait_until(true: Callable[[], object], seconds: float = 40.0) -> None:
    """Returns when `true()` is; fails the test when it is not within the time."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
