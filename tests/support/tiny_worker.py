"""`python -m tests.support.tiny_worker`: the real worker with the tiny trainer, or with the command in TRAINER_COMMAND."""

import json
import os

from tests.support.tiny import TINY_TRAINER
from worker import tasks
from worker.__main__ import main

if __name__ == "__main__":
    command = os.environ.get("TRAINER_COMMAND")
    if command is None:
        tasks.process.trainer_command = TINY_TRAINER
    else:
        # Its trainers are forked already.
        tasks.process.trainer_command, tasks.process.standby = json.loads(command), False
    main()
