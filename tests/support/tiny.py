"""The command of the tiny trainer, and `wait_until`."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

TINY_TRAINER = (sys.executable, str(Path(__file__).with_name("tiny_trainer.py")))


def wait_until(true: Callable[[], object], seconds: float = 100.0) -> None:
    """Blocks until `true()` is truthy. Fails the test after `seconds`."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "the condition did not become true in time"
        time.sleep(0.02)
