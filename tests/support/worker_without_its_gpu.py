"""`python -m tests.support.worker_without_its_gpu`: a worker whose GPU failed after the worker had started and checked it."""

import json
import os

from worker import tasks
from worker.__main__ import main
from worker.trainer import devices

if __name__ == "__main__":
    devices.find = lambda: devices.Device("cuda", 1, "NVIDIA H200", 150 * 10**9)
    devices.check_gpus = lambda settings: None
    tasks.process.trainer_command, tasks.process.standby = json.loads(os.environ["TRAINER_COMMAND"]), False
    main()
