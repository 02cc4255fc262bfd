"""Workers with GPUs that torch cannot use. On a machine without a driver, torch can use none."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.factories import queued
from tests.support.stack import Stack
from tests.support.tiny import wait_until
from tests.ttm_core import factories
from ttm_core.errors import DeviceUnavailable
from ttm_jobs.settings import Settings
from ttm_jobs.states import JobState
from worker.trainer import devices

pytestmark = pytest.mark.skipif(devices.find().kind == "cuda", reason="needs a machine without a GPU")


def test_they_are_found_in_the_sandbox_before_the_worker_starts(tmp_path: Path) -> None:
    with pytest.raises(DeviceUnavailable, match=r"torch cannot compute on the worker's GPUs: .*driver"):
        devices.check_gpus(Settings(work_dir=tmp_path))


def test_the_command_prints_the_reason_on_standard_error() -> None:
    done = subprocess.run([sys.executable, "-m", "ttm_core", "gpus"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("torch cannot compute on the worker's GPUs: ")


def test_a_run_does_not_fall_back_to_the_cpu_and_its_worker_stops(
    stack: Stack, forked_trainer_command: Sequence[str], tmp_path: Path
) -> None:
    stack.trainer_command = forked_trainer_command
    spec = factories.spec(factories.digits_idx(stack.data / "digits"), training={"epochs": 1}).model_dump(mode="json")
    job_id = queued(stack.engine, spec=spec)
    without_gpu = stack.start_worker("tests.support.worker_without_its_gpu")
    stack.start_dispatcher()
    assert without_gpu.wait(60) == 0
    [attempt] = stack.attempts(job_id)
    assert (attempt.outcome, attempt.code) == ("error", "device_unavailable")
    assert stack.job(job_id).state is JobState.QUEUED

    stack.start_worker()
    wait_until(lambda: stack.job(job_id).state is JobState.SUCCEEDED)
