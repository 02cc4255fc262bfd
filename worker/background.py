"""Threads that run while a block or a process runs."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from threading import Event
from types import TracebackType
from typing import Self

from ttm_jobs.telemetry import logs

logger = logging.getLogger(__name__)

_RETRY_SECONDS = 1.0


def run_until(ended: Event, run: Callable[[], None], name: str, retry_seconds: float = _RETRY_SECONDS) -> None:
    """Calls `run` until it returns or `ended` is set. Logs exceptions and calls it again after `retry_seconds`.

    A worker without its heartbeat would lose its lease, and without its presence it would be invisible, so no exception
    ends these threads. What depends on them has its own limit: a run stops when its lease is not confirmed in time.
    """
    while not ended.is_set():
        try:
            run()
            return
        except Exception:
            logger.exception("%s failed; it is called again", name)
            ended.wait(retry_seconds)


class BackgroundThread(ABC):
    """Runs `_run` in a daemon thread within a `with` block. `_run` must return soon after `_ended` is set.

    `_run` is called again `retry_seconds` after an exception.
    """

    def __init__(self, name: str, *, retry_seconds: float = _RETRY_SECONDS) -> None:
        self._ended = Event()
        self._thread = logs.thread(run_until, self._ended, self._run, name, retry_seconds, name=name)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    @abstractmethod
    def _run(self) -> None: ...
