"""`python -m tests.support.tiny_worker`: the real worker with the tiny trainer."""

from tests.support.tiny import TINY_TRAINER
from worker import tasks
from worker.__main__ import main

if __name__ == "__main__":
    tasks.process.trainer_command = TINY_TRAINER
    main()
