"""The engine in a process of its own, which may be killed anywhere.

Forked from a server that has imported torch once: a kill costs a fork, not the seconds of an import.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["ttm_core.pipeline.distill", "tests.support.engine_process"])


@dataclass(frozen=True)
class EngineRun:
    """What a trainer is started with, beside its work directory: a spec of file:// URIs, and where logits are kept."""

    spec: dict[str, Any]
    stores: str


def warm_up() -> None:
    """Returns once the server has imported what the engine needs."""
    process = _context.Process(target=int, daemon=True)
    process.start()
    process.join()


def start(
    run: EngineRun, workdir: Path, *, kill_at_step: int | None = None, kill_at_event: int | None = None
) -> BaseProcess:
    """A trainer at work. It kills itself with SIGKILL after so many steps, or at the so-manieth event, of this start."""
    process = _context.Process(target=_distill, args=(run, str(workdir), kill_at_step, kill_at_event), daemon=True)
    process.start()
    return process


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
        on_event=lambda told: event(),
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
