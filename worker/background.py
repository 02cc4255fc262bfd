"""Threads that repeat something while a block runs."""

from abc import ABC, abstractmethod
from threading import Event
from types import TracebackType
from typing import Self

from ttm_jobs.telemetry import logs


class BackgroundThread(ABC):
    """Runs `_run` in a daemon thread within a `with` block. `_run` must return soon after `_ended` is set."""

    def __init__(self, name: str) -> None:
        self._ended = Event()
        self._thread = logs.thread(self._run, name=name)

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
