"""A run that is killed at any point, any number of times, and resumed anywhere produces the uninterrupted student."""

import hashlib
import random
import shutil
import signal
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.engine_process import EngineRun, start, warm_up
from tests.ttm_core import factories
from ttm_core.pipeline.distill import distill

EPOCHS = 4
# Each kill happens at a random step, event or time.
KILLS_EACH = 8

METHODS: dict[str, dict[str, Any]] = {
    "ce": {"method": "ce"},
    "kd, logits read while they train": {"method": "kd", "training": {"teacher_logits": "online"}},
    "wttm, logits stored": {"method": "wttm", "training": {"teacher_logits": "stored", "views": 2}},
    "wttm + crd": {"method": {"kind": "wttm", "features": {"kind": "crd", "negatives": 64}}},
    "dkd + itrd": {"method": {"kind": "dkd", "features": "itrd"}},
    "nkd, averaged weights, in two parts": {"method": "nkd", "training": {"ema": 0.9, "gradient_accumulation": 2}},
    "dist, gradients clipped": {"method": "dist", "training": {"gradient_clipping": 1.0, "teacher_logits": "stored"}},
}
QUICK = ("wttm, logits stored",)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return factories.digits_idx(tmp_path_factory.mktemp("digits"))


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory, digits: Path) -> Path:
    workdir = tmp_path_factory.mktemp("teacher")
    distill(factories.spec(digits, student="mini/resnet8_050", training={"epochs": 2}), workdir)
    return workdir / "out" / "student.safetensors"


@dataclass
class InterruptedRun:
    """A run that is killed repeatedly."""

    run: EngineRun
    directory: Path
    chance: random.Random
    seconds: float
    steps: int
    starts: int = 0

    def __post_init__(self) -> None:
        self.workdir = self.directory / "work-0"
        self.workdir.mkdir(parents=True)

    def attempt(self) -> bool:
        """Starts or resumes the run and kills it. Returns whether it was still running."""
        self.starts += 1
        how = self.chance.choice(["step", "event", "time"])
        process = start(
            self.run,
            self.workdir,
            kill_at_step=self.chance.randint(1, self.steps // 2) if how == "step" else None,
            kill_at_event=self.chance.randint(1, 12) if how == "event" else None,
        )
        if how == "time":
            process.join(self.chance.uniform(0, self.seconds))
            process.kill()
        process.join(60)
        assert process.exitcode in (0, -signal.SIGKILL), "the trainer failed without a kill"
        return process.exitcode == -signal.SIGKILL

    def change_state(self) -> None:
        """Changes the state between two attempts: another worker, a truncated file, or another state of the teacher store."""
        if self.chance.random() < 0.5:
            self.move_to_another_worker()
        if self.chance.random() < 0.3:
            self.add_truncated_checkpoint()
        match self.chance.choice(["keep", "lose", "other"]):
            case "lose":
                shutil.rmtree(self.run.stores, ignore_errors=True)
            case "other":
                self.run = replace(self.run, stores=str(self.directory / f"stores-{self.starts}"))
            case _:
                pass

    def move_to_another_worker(self) -> None:
        """Moves the run to another worker, which receives only the newest checkpoint."""
        before, self.workdir = self.workdir, self.directory / f"work-{self.starts}"
        (self.workdir / "checkpoints").mkdir(parents=True)
        for newest in sorted((before / "checkpoints").glob("step-*.pt"))[-1:]:
            shutil.copy(newest, self.workdir / "checkpoints")

    def add_truncated_checkpoint(self) -> None:
        for newest in sorted((self.workdir / "checkpoints").glob("step-*.pt"))[-1:]:
            (newest.parent / "step-000000998.pt").write_bytes(newest.read_bytes()[:1000])

    def finish(self) -> str:
        process = start(self.run, self.workdir)
        process.join(60)
        assert process.exitcode == 0
        return student_of(self.workdir)


def student_of(workdir: Path) -> str:
    return hashlib.sha256((workdir / "out" / "student.safetensors").read_bytes()).hexdigest()


@pytest.mark.fault("trainer killed at any time, any method, any store")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.thorough) for name in METHODS]
)
def test_student_of_a_killed_and_resumed_run_is_bit_identical(
    name: str, digits: Path, teacher: Path, tmp_path: Path
) -> None:
    fields = METHODS[name]
    augmentation = {"kind": "crop_flip", "padding": 1}
    training = {
        "epochs": EPOCHS,
        "checkpoint_seconds": 0.03,
        "augmentation": augmentation,
        **fields.get("training", {}),
    }
    spec = factories.spec(digits, teacher, **{**fields, "training": training})
    run = EngineRun(spec.model_dump(mode="json"), str(tmp_path / "stores"))

    (tmp_path / "uninterrupted").mkdir()
    warm_up()
    started = time.monotonic()
    baseline = start(run, tmp_path / "uninterrupted")
    baseline.join(60)
    seconds = time.monotonic() - started
    assert baseline.exitcode == 0
    expected = student_of(tmp_path / "uninterrupted")

    chance = random.Random(name)
    kills = runs = 0
    while kills < KILLS_EACH:
        runs += 1
        interrupted = InterruptedRun(run, tmp_path / f"disturbed-{runs}", chance, seconds, steps=EPOCHS * 9)
        while kills < KILLS_EACH and interrupted.attempt():
            kills += 1
            interrupted.change_state()
        assert interrupted.finish() == expected, (name, kills)
