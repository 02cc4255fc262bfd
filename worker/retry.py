"""BlockedReasons for a storage that is away, so that hours of training are not lost to minutes of it."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from ttm_jobs.errors import StorageUnreachable

logger = logging.getLogger(__name__)

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 15.0
_LOOK_EVERY = 0.25

T = TypeVar("T")


def retry_storage(call: Callable[[], T], *, seconds: float, check: Callable[[], None]) -> T:
    """What `call` returns, which is called again with growing pauses while the storage cannot be reached.

    StorageUnreachable once that has lasted for `seconds`, and whatever `check`, which is called several times a second
    in between, raises to give up.
    """
    give_up_at = time.monotonic() + seconds
    pause = _FIRST_PAUSE
    while True:
        try:
            return call()
        except StorageUnreachable as error:
            again_at = time.monotonic() + pause
            if again_at > give_up_at:
                raise
            logger.warning("waiting for the storage: %s", error.message)
        while time.monotonic() < again_at:
            check()
            time.sleep(_LOOK_EVERY)
        pause = min(2 * pause, _LONGEST_PAUSE)
