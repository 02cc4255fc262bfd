"""Runs the engine in a separate process that a test may kill at any point.

The process is forked from a server that has already imported torch, so a restart costs a fork instead of an import.
"""

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from tests.support.fork_server import CONTEXT, redirect


@dataclass(frozen=True)
class EngineRun:
    """The input of a trainer: a spec with file:// URIs and the directory of the teacher store."""

    spec: dict[str, Any]
    stores: str


def warm_up() -> None:
    """Blocks until the fork server has imported the engine."""
    process = CONTEXT.Process(target=int, daemon=True)
    process.start()
    process.join()


def start(
    run: EngineRun, workdir: Path, *, kill_at_step: int | None = None, kill_at_event: int | None = None
) -> BaseProcess:
    """Starts a trainer. It sends itself SIGKILL after `kill_at_step` steps or `kill_at_event` events of this start."""
    process = CONTEXT.Process(target=_distill, args=(run, str(workdir), kill_at_step, kill_at_event), daemon=True)
    process.start()
    return process


def start_trainer(workdir: Path) -> tuple[BaseProcess, Connection]:
    """Starts `python -m ttm_core run` in a work directory and returns the read end of the pipe of its events."""
    events, written = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=_run_trainer, args=(str(workdir), written), daemon=True)
    process.start()
    written.close()
    return process, events


def _run_trainer(workdir: str, events: Connection) -> None:
    from ttm_core.__main__ import main

    redirect(Path(os.devnull), 1, 2)
    sys.exit(main(["run", workdir, "--events-fd", str(events.fileno())]))


def _distill(run: EngineRun, workdir: str, kill_at_step: int | None, kill_at_event: int | None) -> None:
    from ttm_core.pipeline.distill import distill
    from ttm_core.spec.job import DistillSpec
    from ttm_core.teacher_store.store import Stores

    step, event = _killer(kill_at_step), _killer(kill_at_event)

    def should_stop() -> bool:
        step()
        return False

    distill(
        DistillSpec.model_validate(run.spec),
        Path(workdir),
        stores=Stores(Path(run.stores)),
        on_event=lambda _: event(),
        should_stop=should_stop,
    )


def _killer(after: int | None) -> Callable[[], None]:
    left = after

    def count() -> None:
        nonlocal left
        if left is not None:
            left -= 1
            if left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return count
