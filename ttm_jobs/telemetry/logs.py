"""Log lines of every process: one JSON object each on standard output, with the ids of the request or the run that they
are about.
"""

import logging
import sys
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
    """Set up structlog for this process."""
    structlog.configure(
        processors=[*_SHARED, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )


def take_over(level: int = logging.INFO) -> None:
    """Has what libraries log through `logging` come out in the same form."""
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


class _Target(Protocol):
    def __call__(self, *args: Any) -> object: ...


def thread(target: _Target, *args: Any, name: str | None = None) -> Thread:
    """A daemon whose log lines carry the ids that those of its maker carry now."""
    return Thread(target=copy_context().run, args=(target, *args), name=name, daemon=True)
