"""Forks trainers from a process that has imported their libraries, which takes seconds.

The worker starts it with one end of a Unix socket that keeps message boundaries. Messages are JSON:

- from the worker: `{"workdir": PATH}` with the file descriptors of a trainer's events and output, and `{"reap": PID}`
- to the worker: `{"ready": true}`, `{"forked": PID}` for each request, and `{"exited": PID, "returncode": CODE}`

An exited trainer stays a zombie until the worker asks to reap it, so that its process id still identifies its group.
"""

import gc
import json
import os
import select
import signal
import socket
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ttm_core.process import die_with
from ttm_core.sandbox.confine import enter_own_domain

_MAX_BYTES, _DESCRIPTORS = 1 << 16, 2


class Job(NamedTuple):
    """What a forked trainer runs: `run.json` in a folder. It writes its events to a file descriptor."""

    workdir: Path
    events: int


def next_job(descriptor: int) -> Job | None:
    """Serves the worker at the other end of a socket. Returns in each forked process, with its job; returns None in
    this process when the worker has closed the socket.
    """
    # Otherwise a garbage collection of a trainer would touch, and so copy, all objects of this process.
    gc.freeze()
    with socket.socket(fileno=descriptor) as worker, _ChildSignals() as signals:
        children: list[int] = []
        _send(worker, {"ready": True})
        while True:
            readable, _, _ = select.select([worker.fileno(), signals.descriptor], [], [])
            if signals.descriptor in readable:
                signals.clear()
                children = [child for child in children if not _reported(worker, child)]
            if worker.fileno() not in readable:
                continue
            try:
                message, descriptors, _, _ = socket.recv_fds(worker, _MAX_BYTES, _DESCRIPTORS)
            except ConnectionResetError:
                return None
            if not message:
                return None
            request = json.loads(message)
            if "reap" in request:
                os.waitpid(request["reap"], 0)
                continue
            server = os.getpid()
            if child := os.fork():
                with suppress(OSError):
                    os.setpgid(child, child)  # here as well: the worker may kill the group before the child runs
                for each in descriptors:
                    os.close(each)
                children.append(child)
                _send(worker, {"forked": child})
                continue
            break
    return _begin(server, Path(request["workdir"]), *descriptors)


def _begin(server: int, workdir: Path, events: int, output: int) -> Job:
    """Sets up a forked process."""
    die_with(server)
    os.setpgid(0, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    # It will parse files of others, and must not reach the process that later trainers are forked from.
    enter_own_domain()
    return Job(workdir, events)


def _reported(worker: socket.socket, child: int) -> bool:
    """Reports a child's end, without reaping it. Returns whether it has ended."""
    ended = os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if ended is None:
        return False
    code = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
    _send(worker, {"exited": child, "returncode": code})
    return True


def _send(worker: socket.socket, message: dict[str, int]) -> None:
    worker.send(json.dumps(message).encode())


class _ChildSignals:
    """A file descriptor that is readable when a child has ended."""

    def __enter__(self) -> "_ChildSignals":
        self.descriptor, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        os.close(self.descriptor)
        os.close(self._writer)

    def clear(self) -> None:
        os.read(self.descriptor, _MAX_BYTES)
