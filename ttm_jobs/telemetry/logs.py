"""Structured logs: one JSON object per line on standard output, with the ids of the request or run."""

import logging
import sys
from collections import Counter
from collections.abc import Sequence
from contextvars import copy_context
from threading import Thread
from typing import Any, Protocol

import structlog
from structlog.types import Processor

_SHARED: Sequence[Processor] = (
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
)


def configure(level: int = logging.INFO) -> None:
    """Configures structlog for this process."""
    structlog.configure(
        processors=[*_SHARED, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )


def configure_stdlib(level: int = logging.INFO) -> None:
    """Formats records of the standard `logging` module in the same way."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *_SHARED],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(level=level, handlers=[handler], force=True)


class RepeatedRecords(logging.Filter):
    """Passes at most ten records with the same message per minute. The first one of the next minute has the number of
    omitted records.
    """

    def __init__(self, per_minute: int = 10) -> None:
        super().__init__()
        self._per_minute = per_minute
        self._minute = 0.0
        self._counts: Counter[tuple[str, str]] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        minute = record.created // 60
        key = (record.name, str(record.msg))
        if minute != self._minute:
            omitted = self._counts[key] - self._per_minute
            self._minute, self._counts = minute, Counter()
            if omitted > 0:
                record.msg = f"{record.msg} ({omitted} records omitted)"
        self._counts[key] += 1
        return self._counts[key] <= self._per_minute


def limit_repeats(*loggers: str) -> None:
    """Omits repeated records of these loggers, so that a client cannot fill the disk with them."""
    for name in loggers:
        logging.getLogger(name).addFilter(RepeatedRecords())


class _Target(Protocol):
    def __call__(self, *args: Any) -> object: ...


def thread(target: _Target, *args: Any, name: str | None = None) -> Thread:
    """A daemon thread whose log lines inherit the current context variables."""
    return Thread(target=copy_context().run, args=(target, *args), name=name, daemon=True)
