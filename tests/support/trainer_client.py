"""The command of a forked trainer: `trainer_client.py ADDRESS WORKDIR --events-fd N`.

Sends its arguments and file descriptors to the server of `forked_trainer.py`, forwards SIGTERM to the trainer, and exits
as the trainer does. The trainer is killed with this process. Imports little, because each job starts it.
"""

import os
import signal
import socket
import sys


def main(address: str, workdir: str, events: int) -> int:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        socket.send_fds(connection, [workdir.encode()], [events, 1, 2])
        os.close(events)
        trainer = int.from_bytes(connection.recv(4), "big")
        signal.signal(signal.SIGTERM, lambda number, frame: os.kill(trainer, number))
        status = connection.recv(1)
    if not status:
        # The trainer was killed.
        os.kill(os.getpid(), signal.SIGKILL)
    return status[0]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], int(sys.argv[4])))
