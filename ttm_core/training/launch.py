"""Starts the other processes of a run on several devices, one process per device, as torchrun does."""

import logging
import os
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from torch.multiprocessing.spawn import ProcessContext, ProcessExitedException, ProcessRaisedException, start_processes

from ttm_core.process import die_with

log = logging.getLogger(__name__)

_GRACE_SECONDS = 20  # for this process to report the error when another one has failed


@contextmanager
def other_processes(devices: int, arguments: Sequence[str]) -> Iterator[None]:
    """Runs `python -m ttm_core` with these arguments for every device except the first, which belongs to this process.

    Starts nothing for one device, or where torchrun started this process. The processes are members of this process's
    group, have no standard input, and die with this process. If one of them fails, this process exits, too. They meet
    through a file, so no port is opened.
    """
    if devices == 1 or "WORLD_SIZE" in os.environ:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="ttm-run-") as folder:
        environment = {"WORLD_SIZE": str(devices), "TTM_RENDEZVOUS": f"file://{Path(folder, 'rendezvous')}"}
        os.environ |= {**environment, "RANK": "0", "LOCAL_RANK": "0"}
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        done = threading.Event()
        started = start_processes(
            _run, args=(os.getpid(), tuple(arguments)), nprocs=devices - 1, join=False, start_method="spawn"
        )
        try:
            watcher = threading.Thread(target=_watch, args=(started, done), name="processes", daemon=True)
            watcher.start()
            yield
            for process in started.processes:
                process.join(_GRACE_SECONDS)
        finally:
            done.set()
            for process in started.processes:
                process.kill()
                process.join()
            for name in (*environment, "RANK", "LOCAL_RANK"):
                os.environ.pop(name, None)


def _run(index: int, parent: int, arguments: Sequence[str]) -> None:
    """The entry point of a started process."""
    die_with(parent)
    os.environ |= {"RANK": str(index + 1), "LOCAL_RANK": str(index + 1)}
    from ttm_core.__main__ import main

    sys.exit(main(list(arguments)))


def _watch(started: ProcessContext, done: threading.Event) -> None:
    """Ends this process when another one fails: a collective operation may wait for it for hours."""
    while not done.is_set():
        try:
            if started.join(timeout=0.5, grace_period=_GRACE_SECONDS):
                return
        except (ProcessExitedException, ProcessRaisedException) as error:
            if not done.wait(_GRACE_SECONDS):
                log.error("a process of this run has failed: %s", error)
                os._exit(1)
            return
