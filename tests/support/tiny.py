"""The command of the tiny trainer, and `wait_until`."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

TINY_TRAINER = (sys.executable, str(Path(__file__).with_name("tiny_trainer.py")))


def wait_until(true: Callable[[], object], seconds: float = 600.0) -> None:
    """Blocks until `true()` is truthy. Fails the test after `seconds`."""
    deadline, pause = time.monotonic() + seconds, 0.02
    while not true():
        assert time.monotonic() < deadline, "the condition did not become true in time"
        time.sleep(pause)
        # Most conditions read the database, which takes CPU time from the processes that the test waits for.
        pause = min(1.2 * pause, 0.1)
