"""Runs trainers without importing anything each time: a server, forked from the fork server, forks per job."""

import gc
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread

from tests.support.fork_server import CONTEXT
from ttm_core.process import die_with

CLIENT = str(Path(__file__).with_name("trainer_client.py"))
_DESCRIPTORS = 3


@contextmanager
def forked_trainer(*, tiny: bool = False) -> Iterator[Sequence[str]]:
    """Starts the server and yields the command of the real or the tiny trainer."""
    with tempfile.TemporaryDirectory() as folder:
        address = f"{folder}/socket"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(address)
            listener.listen(128)
            process = CONTEXT.Process(target=_serve, args=(listener, tiny), daemon=True)
            process.start()
        try:
            yield (sys.executable, "-I", "-S", CLIENT, address)
        finally:
            process.kill()
            process.join()


def _serve(listener: socket.socket, tiny: bool) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # Otherwise each trainer's collector would touch, and so copy, all objects of the server.
    gc.freeze()
    while True:
        connection, _ = listener.accept()
        message, descriptors, _, _ = socket.recv_fds(connection, 1 << 16, _DESCRIPTORS)
        if not message:  # its client was killed
            connection.close()
            continue
        server = os.getpid()
        if trainer := os.fork():
            with suppress(BrokenPipeError):  # its client was killed, and so will be the trainer
                connection.sendall(trainer.to_bytes(4, "big"))
            for descriptor in descriptors:
                os.close(descriptor)
            connection.close()
            with suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG) != (0, 0):
                    pass
            continue
        die_with(server)
        listener.close()
        Thread(target=_die_with_client, args=[connection], daemon=True).start()
        events, out, error = descriptors
        os.dup2(out, 1)
        os.dup2(error, 2)
        connection.sendall(bytes([_run(message.decode(), events, tiny=tiny)]))
        os._exit(0)


def _die_with_client(connection: socket.socket) -> None:
    connection.recv(1)
    os.kill(os.getpid(), signal.SIGKILL)


def _run(workdir: str, events: int, *, tiny: bool) -> int:
    # Imported already, by the fork server.
    if tiny:
        from tests.support.tiny_trainer import TinyTrainer

        return TinyTrainer(Path(workdir), events).run()
    from ttm_core import __main__ as trainer

    return trainer.main(["run", workdir, "--events-fd", str(events)])
