"""Retries of storage operations, so that a short outage of the storage does not cost hours of training."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_before_delay, wait_exponential

from ttm_jobs.errors import StorageUnreachable

logger = logging.getLogger(__name__)

_MAX_WAIT_SECONDS = 15.0
_CHECK_SECONDS = 0.25

T = TypeVar("T")


def retry_storage(call: Callable[[], T], *, seconds: float, check: Callable[[], None]) -> T:
    """Call `call` again, with exponential backoff, while it raises StorageUnreachable.

    Args:
        seconds: give up after this time.
        check: called four times per second between the attempts; raises to stop waiting.

    Returns:
        What `call` returns.

    Raises:
        StorageUnreachable: the storage was unreachable for `seconds`.
    """

    def sleep(wait: float) -> None:
        until = time.monotonic() + wait
        while (left := until - time.monotonic()) > 0:
            check()
            time.sleep(min(_CHECK_SECONDS, left))

    return Retrying(
        retry=retry_if_exception_type(StorageUnreachable),
        wait=wait_exponential(multiplier=0.5, max=_MAX_WAIT_SECONDS),
        stop=stop_before_delay(seconds),
        sleep=sleep,
        before_sleep=_log,
        reraise=True,
    )(call)


def _log(state: RetryCallState) -> None:
    assert state.outcome is not None
    logger.warning("Storage operation failed, retrying: %s", state.outcome.exception())
