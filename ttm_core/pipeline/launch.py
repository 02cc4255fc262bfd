"""Starts the other processes of a run on several devices, as torchrun would, and sees that none outlives another."""

import ctypes
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

log = logging.getLogger(__name__)

_GRACE_SECONDS = 20.0  # for this process to say what went wrong, when a peer has gone
_PR_SET_PDEATHSIG = 1


@contextmanager
def peers(devices: int, arguments: Sequence[str]) -> Iterator[None]:
    """Start `python -m ttm_core` with these arguments for all devices but the first, which is this process's.

    Where torchrun started this process, or one device is enough, there is nothing to start. They belong to this
    process's group and die with it; if one of them dies, so does this process.
    """
    if devices == 1 or "WORLD_SIZE" in os.environ:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="ttm-run-") as folder:
        os.environ |= {
            "WORLD_SIZE": str(devices),
            "RANK": "0",
            "LOCAL_RANK": "0",
            "TTM_RENDEZVOUS": f"file://{Path(folder, 'rendezvous')}",
            "TTM_LEADER": str(os.getpid()),
        }
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        started: list[subprocess.Popen[bytes]] = []
        over = threading.Event()
        try:
            for rank in map(str, range(1, devices)):
                environment = {**os.environ, "RANK": rank, "LOCAL_RANK": rank}
                command = [sys.executable, "-m", "ttm_core", *arguments]
                started.append(subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL))
            threading.Thread(target=_watch, args=(started, over), name="peers", daemon=True).start()
            yield
            for process in started:
                process.wait(_GRACE_SECONDS)
        finally:
            over.set()
            for process in started:
                process.kill()
                process.wait()
            for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "TTM_RENDEZVOUS", "TTM_LEADER"):
                os.environ.pop(name, None)


def follow_leader() -> None:
    """To be called first in every process: a peer dies with the process that started it."""
    leader = os.environ.get("TTM_LEADER")
    if leader is None or os.environ.get("RANK") == "0":
        return
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != int(leader):
        os._exit(1)


def _watch(started: Sequence["subprocess.Popen[bytes]"], over: threading.Event) -> None:
    """A device that waits for a peer which is gone may wait for hours."""
    while not over.wait(0.5):
        codes = [process.poll() for process in started]
        if any(code not in (None, 0) for code in codes):
            if not over.wait(_GRACE_SECONDS):
                log.error("a process of this run has gone (%s): the run cannot go on", codes)
                os._exit(1)
            return
