"""Runs the real trainer without importing torch each time: a server process imports torch once and forks per job.

The trainer command sends its arguments and file descriptors to the server and exits with the trainer's status.
"""

import gc
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_DESCRIPTORS = 3


@contextmanager
def forked_trainer() -> Iterator[Sequence[str]]:
    """Starts the fork server and yields the trainer command."""
    with tempfile.TemporaryDirectory() as folder:
        address = f"{folder}/socket"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(address)
            listener.listen()
            process = subprocess.Popen(
                [sys.executable, __file__, "serve", str(listener.fileno())],
                pass_fds=[listener.fileno()],
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
        try:
            yield (sys.executable, __file__, "run", address)
        finally:
            process.kill()
            process.wait()


def _serve(fd: int) -> None:
    from ttm_core import __main__ as trainer
    from ttm_core.pipeline import distill, train

    assert distill is not None
    assert train is not None
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # Otherwise each trainer's collector would touch, and so copy, all objects of the server.
    gc.freeze()
    with socket.socket(fileno=fd) as listener:
        while True:
            connection, _ = listener.accept()
            message, descriptors, _, _ = socket.recv_fds(connection, 1 << 16, _DESCRIPTORS)
            if os.fork():
                for descriptor in descriptors:
                    os.close(descriptor)
                connection.close()
                continue
            listener.close()
            events, out, error = descriptors
            os.dup2(out, 1)
            os.dup2(error, 2)
            workdir, *_ = message.decode().split("\0")
            code = trainer.main(["run", workdir, "--events-fd", str(events)])
            connection.sendall(bytes([code]))
            os._exit(code)


def _run(address: str, workdir: str, events: int) -> int:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        socket.send_fds(connection, [workdir.encode()], [events, 1, 2])
        os.close(events)
        status = connection.recv(1)
    # The server sends no status if the trainer was killed.
    return status[0] if status else -1


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", descriptor]:
            sys.path.insert(0, str(Path(__file__).parents[2]))
            _serve(int(descriptor))
        case ["run", where, workdir, "--events-fd", descriptor]:
            sys.exit(_run(where, workdir, int(descriptor)))
