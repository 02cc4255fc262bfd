"""`python -m tests.support.shifted_worker`: the tiny worker with a clock that jumps by a day every second."""

import time

_DAY = 86_400
_true_time = time.time


def _shifted() -> float:
    at = _true_time()
    return at + (_DAY if int(at) % 2 else -_DAY)


if __name__ == "__main__":
    time.time = _shifted
    from tests.support.tiny import TINY_TRAINER
    from worker import tasks
    from worker.__main__ import main

    tasks.process.trainer_command = TINY_TRAINER
    main()
