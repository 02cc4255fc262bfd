"""A killed worker with the real engine: the resumed job produces a bit-identical student."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.factories import queued
from tests.support.stack import Stack
from tests.support.tiny import wait_until
from ttm_jobs.database.engine import read_scope
from ttm_jobs.repositories.run_data import artifacts
from ttm_jobs.states import JobState


def image_folder(directory: Path) -> None:
    pixels = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (directory / "train" / label).mkdir(parents=True)
        for number in range(40):
            image = Image.fromarray(pixels.integers(0, 256, (32, 32, 3), dtype=np.uint8))
            image.save(directory / "train" / label / f"{number}.png")


@pytest.mark.fault("worker killed, with the real engine")
@pytest.mark.thorough
def test_job_resumed_by_another_worker_is_bit_identical(stack: Stack) -> None:
    image_folder(stack.data / "pets")
    body = {
        "student": "cifar/resnet8",
        "dataset": f"file://{stack.data}/pets",
        "method": "ce",
        "exports": [],
        "training": {"epochs": 12, "batch_size": 8, "threads": 1, "checkpoint_seconds": 0.2},
    }
    stack.start_dispatcher()
    first = stack.start_worker("worker")
    disturbed = queued(stack.engine, spec={**body, "name": "disturbed"})
    wait_until(lambda: stack.step(disturbed) > 20 and len(stack.checkpoints(disturbed)) >= 2)
    first.kill()
    assert stack.job(disturbed).state is JobState.RUNNING, "the worker was killed during the run"
    stack.start_worker("worker")
    stack.wait_for(disturbed, JobState.SUCCEEDED)
    undisturbed = queued(stack.engine, spec={**body, "name": "disturbed"})
    stack.wait_for(undisturbed, JobState.SUCCEEDED)
    assert [attempt.outcome for attempt in stack.attempts(disturbed)] == ["lost", "succeeded"]
    with read_scope(stack.engine) as session:
        one, other = (artifacts.get(session, job_id, artifacts.STUDENT) for job_id in (disturbed, undisturbed))
    assert one.sha256 == other.sha256
    assert one.size == other.size > 100_000
