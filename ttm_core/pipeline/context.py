"""The surroundings of a run: its folders, device and processes, and the events it emits."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from ttm_core.data.cache import DataCache
from ttm_core.hardware.compilation import check_compiler, keep_kernels_in
from ttm_core.pipeline.decisions.once import decide_once
from ttm_core.pipeline.inputs import Inputs
from ttm_core.precision import check_precision
from ttm_core.spec import events
from ttm_core.spec.job import DistillSpec
from ttm_core.spec.study.run_options import DEFAULT_OPTIONS, RunOptions
from ttm_core.teacher_store.store import Stores
from ttm_core.training.devices import choose_device, set_up, usable_threads
from ttm_core.training.distributed import Distributed, init_distributed

# A process that hangs uses less CPU time than this share, a process that reads files uses more.
_BUSY_SHARE = 0.1
KEEPALIVE_SECONDS = 20.0


@dataclass(frozen=True)
class RunContext:
    """Everything a run needs besides its spec.

    `stores` is None when teacher logits are not shared with other runs. `on_event` discards events in all processes but
    the main one.
    """

    workdir: Path
    inputs: Inputs
    stores: Stores | None
    device: torch.device
    threads: int
    pool: ThreadPoolExecutor
    data_cache: DataCache
    distributed: Distributed
    on_event: Callable[[events.Event], None]
    should_stop: Callable[[], bool]
    options: RunOptions = DEFAULT_OPTIONS

    def phase(self, phase: events.Phase) -> None:
        self.on_event(events.PhaseChanged(phase=phase))

    def log(self, message: str) -> None:
        self.on_event(events.Log(message=message))

    def warn(self, message: str) -> None:
        self.on_event(events.Log(level="warning", message=message))

    @contextmanager
    def activity(self, name: str) -> Iterator[None]:
        """Logs "still `name`" at intervals while the block runs, so that the worker does not stop the run as stalled.

        Every part of a run that may take longer than the worker's progress timeout runs in such a block, except
        training, which emits progress events.
        """
        with keepalive(lambda seconds: self.log(f"still {name} after {seconds:.0f} s")):
            yield


@contextmanager
def open_context(
    spec: DistillSpec,
    workdir: Path,
    inputs: Inputs | None,
    stores: Stores | None,
    on_event: Callable[[events.Event], None],
    should_stop: Callable[[], bool],
    device: torch.device | None = None,
    options: RunOptions = DEFAULT_OPTIONS,
) -> Iterator[RunContext]:
    """Sets up the device, the threads and the processes of a run."""
    inputs = inputs or Inputs.from_spec(spec)
    with init_distributed(spec.training.devices) as distributed:
        device = device or choose_device(distributed.rank, needs_gpu=options.needs_gpu)
        threads = distributed.main_first(lambda: resolve_threads(spec, workdir))
        check_precision(spec.training, device)
        set_up(device, threads, tf32=spec.training.tf32, reproducible=spec.training.reproducible)
        keep_kernels_in(workdir / "cache" / "compiler")
        if spec.training.compile is True:
            distributed.main_first(lambda: check_compiler(device))
        with (
            # More decoding threads than cores would only need more memory; unlike `threads`, they change no result.
            ThreadPoolExecutor(min(threads, usable_threads()), thread_name_prefix="decode") as pool,
            DataCache(inputs.data_cache or workdir / "cache", inputs.data_cache_max_bytes) as data_cache,
        ):
            yield RunContext(
                workdir=workdir,
                inputs=inputs,
                stores=stores,
                device=device,
                threads=threads,
                pool=pool,
                data_cache=data_cache,
                distributed=distributed,
                on_event=on_event if distributed.is_main else _discard,
                should_stop=should_stop,
                options=options,
            )


def resolve_threads(spec: DistillSpec, workdir: Path) -> int:
    """The number of CPU threads: the spec's, else that of an earlier attempt in `workdir`, else all usable ones."""
    if spec.training.threads is not None:
        return spec.training.threads
    threads: int = decide_once(workdir, "threads", lambda: max(usable_threads() // spec.training.devices, 1))
    return threads


def _discard(event: events.Event) -> None:
    """The event handler of all processes but the main one."""


@contextmanager
def keepalive(report: Callable[[float], None], *, interval: float = KEEPALIVE_SECONDS) -> Iterator[None]:
    """Calls `report` with the seconds since the start, after each `interval` (seconds) in which this process was busy.

    A process that waits for an unresponsive disk reports nothing, so that its supervisor can detect it. `report` runs
    in a separate thread and is not called after the block.
    """
    finished = threading.Event()

    def watch() -> None:
        started, cpu_seconds = time.monotonic(), time.process_time()
        while not finished.wait(interval):
            before, cpu_seconds = cpu_seconds, time.process_time()
            if cpu_seconds - before >= _BUSY_SHARE * interval:
                report(time.monotonic() - started)

    thread = threading.Thread(target=watch, name="keepalive", daemon=True)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()
