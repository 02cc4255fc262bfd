"""Runs the real trainer without importing torch each time: a server process that has imported torch forks per job.

The trainer command sends its arguments and file descriptors to the server and exits with the trainer's status.
"""

import gc
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_DESCRIPTORS = 3


@contextmanager
def forked_trainer() -> Iterator[Sequence[str]]:
    """Starts the fork server and yields the trainer command."""
    # Imported here: the trainer command runs this file alone.
    from tests.support.fork_server import CONTEXT
    from tests.support.tiny import wait_until

    with tempfile.TemporaryDirectory() as folder:
        address = Path(folder, "socket")
        process = CONTEXT.Process(target=_serve, args=(str(address),))
        process.start()
        wait_until(address.exists)
        try:
            yield (sys.executable, __file__, str(address))
        finally:
            process.kill()
            process.join()


def _serve(address: str) -> None:
    from ttm_core import __main__ as trainer
    from ttm_core.process import die_with

    die_with(os.getppid())
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # Otherwise each trainer's collector would touch, and so copy, all objects of the server.
    gc.freeze()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{address}.new")
        listener.listen()
        os.rename(f"{address}.new", address)
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
    where, workdir, _, descriptor = sys.argv[1:]
    sys.exit(_run(where, workdir, int(descriptor)))
