"""`python -m tests.support.worker_without_its_gpu`: a worker whose GPU failed after the worker had started and checked it."""

import runpy

from worker.trainer import devices

if __name__ == "__main__":
    devices.find = lambda: devices.Device("cuda", 1, "NVIDIA H200", 150 * 10**9)
    devices.check_gpus = lambda settings: None
    runpy.run_module("tests.support.tiny_worker", run_name="__main__")
