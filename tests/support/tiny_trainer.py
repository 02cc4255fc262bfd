"""A trainer without a model that implements the real trainer's protocol: `tiny_trainer.py WORKDIR --events-fd N`
or, as a fork server, `tiny_trainer.py - --socket-fd N`.

Its weights are a chain of hashes, one per step, so a resumed run shows whether it skipped or repeated a step. The job's
name holds its options: `steps=40 step_seconds=0.05 checkpoint_every=5 fail_at=7
fail_origin=user die_at=9 hang_at=3 ignore_sigterm=1 child=1 student_bytes=1000 stay=1 no_student=1 hold_mib=100`.

In a study, a run has two steps per epoch, and each takes `training.checkpoint_seconds` if that is less than a second. Its
accuracy grows with the epochs and the parameters of the architecture. `mini/` and pruned students fail to export, and a learning
rate above 1 fails the run.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from ttm_core.fork_server import Job, next_job
from ttm_core.spec import catalogue
from ttm_core.spec.events import (
    Accuracy,
    Artifact,
    CandidateScreened,
    CheckpointSaved,
    Event,
    Failed,
    Finished,
    Metrics,
    PhaseChanged,
    Progress,
    Resolved,
    Result,
    ScreenedFile,
    StageFinished,
    Stopped,
    encode,
)
from ttm_core.spec.job import DistillSpec
from ttm_core.spec.study.run_options import RunOptions


def weights_after(steps: int, seed: str) -> str:
    """The final weights of a run with `steps` steps."""
    weights = seed
    for step in range(steps):
        weights = hashlib.sha256(f"{weights}{step}".encode()).hexdigest()
    return weights


class TinyTrainer:
    def __init__(self, workdir: Path, events: int) -> None:
        run = json.loads((workdir / "run.json").read_text())
        self.spec = DistillSpec.model_validate(run["spec"])
        self.inputs = run["inputs"]
        self.run_options = RunOptions.model_validate(run.get("options", {}))
        self.in_study = self.run_options.record_correct
        options = dict(part.split("=") for part in (self.spec.name or "").split() if "=" in part)
        self.options = options
        self.workdir = workdir
        self.events = events
        self.stopping = False

    def option(self, name: str, default: float) -> float:
        return float(self.options.get(name, default))

    def emit(self, event: Event) -> None:
        os.write(self.events, encode(event))

    def on_sigterm(self, number: int, frame: FrameType | None) -> None:
        self.stopping = not self.option("ignore_sigterm", 0)

    def run(self) -> int:
        signal.signal(signal.SIGTERM, self.on_sigterm)
        self.held = os.urandom(int(self.option("hold_mib", 0)) * 1024**2)
        if self.option("child", 0):
            subprocess.Popen(["sleep", "300"])
        if self.run_options.kind != "distill":
            return self.run_stage()
        steps = 2 * self.spec.training.epoch_count if self.in_study else int(self.option("steps", 10))
        self.emit(PhaseChanged(phase="loading_teacher"))
        step, weights = self.newest_checkpoint()
        self.emit(self.resolved(steps, step or None))
        self.emit(PhaseChanged(phase="training"))
        while step < steps:
            if self.in_study and (self.spec.training.optimizer.learning_rate or 0) > 1:
                self.emit(Failed(code="non_finite_loss", message="NaN.", origin="user", retryable=False))
                return 1
            if step and step == 2 * (self.run_options.pause_after_epoch or 0):
                self.save(step, weights)
                self.emit(Stopped(step=step, epoch=step // 2, best_top1=self.accuracy(step // 2)))
                return 3
            if self.stopping:
                self.save(step, weights)
                self.emit(Stopped(step=step))
                return 3
            if step == self.option("fail_at", -1):
                origin = "system" if self.options.get("fail_origin") == "system" else "user"
                self.emit(Failed(code="bad_dataset", message="No images.", origin=origin, retryable=origin == "system"))
                return 1
            if step == self.option("die_at", -1):
                os.kill(os.getpid(), signal.SIGKILL)
            if step == self.option("hang_at", -1):
                time.sleep(600)
            time.sleep(self.step_seconds())
            weights = hashlib.sha256(f"{weights}{step}".encode()).hexdigest()
            step += 1
            print(f"step {step} of {steps}", flush=True)
            self.emit(Metrics(step=step, epoch=step / steps, values={"train/loss": 1 / step}))
            self.emit(
                Progress(step=step, total_steps=steps, epoch=1, epochs=1, images_per_second=100.0, eta_seconds=1.0)
            )
            if step % int(self.option("checkpoint_every", 5)) == 0:
                self.save(step, weights)
        self.emit(PhaseChanged(phase="exporting"))
        self.emit(Finished(result=self.result(steps, weights)))
        if self.option("stay", 0):
            time.sleep(600)
        return 0

    def resolved(self, steps: int, resumed_from: int | None, stores: Sequence[str] = ()) -> Resolved:
        return Resolved(
            spec=self.spec.model_copy(update={"training": self.spec.training.model_copy(update={"threads": 1})}),
            total_steps=steps,
            train_images=100,
            validation_images=10,
            test_images=10,
            unreadable_images=0,
            num_classes=10,
            student_parameters=1,
            teacher_parameters=None,
            resumed_from_step=resumed_from,
            teacher_stores=list(stores),
        )

    def step_seconds(self) -> float:
        pace = self.spec.training.checkpoint_seconds
        return pace if self.in_study and pace < 1 else self.option("step_seconds", 0.01)

    def accuracy(self, epoch: int) -> float:
        """Validation accuracy in a study: a function of the spec and the epoch."""
        size = catalogue.find(self.spec.student.architecture).parameters
        seed = self.spec.training.seed
        penalty = 0.1 if self.spec.method.kind == "ce" else 0.0
        return round(0.95 - 300 / (size**0.5 + 100) / 10 - 0.2 / epoch - penalty + 0.001 * (seed % 3), 6)

    def run_stage(self) -> int:
        """Screens students, or stores no logits."""
        for students in self.run_options.students:
            name = students.student.architecture
            time.sleep(self.step_seconds())
            if name is None or name.startswith("mini/"):
                self.emit(CandidateScreened(numbers=students.numbers, error="cannot be built or exported: too small"))
                continue
            row = catalogue.find(name)
            files = [
                ScreenedFile(precision="fp32", bytes=4 * row.parameters, latency_ms=row.parameters / 1e5),
                ScreenedFile(precision="int8", bytes=row.parameters, latency_ms=row.parameters / 2e5),
            ]
            self.emit(
                CandidateScreened(numbers=students.numbers, parameters=row.parameters, macs=row.macs, files=files)
            )
            if self.stopping:
                self.emit(Stopped(step=0))
                return 3
        if self.run_options.kind == "teacher":
            self.emit(self.resolved(0, None, stores=["0" * 64]))
        self.emit(StageFinished(teacher_forwards=100 if self.run_options.kind == "teacher" else None))
        return 0

    def newest_checkpoint(self) -> tuple[int, str]:
        files = sorted((self.workdir / "checkpoints").glob("*.json"))
        if not files:
            return 0, str(self.spec.training.seed)
        saved = json.loads(files[-1].read_text())
        return saved["step"], saved["weights"]

    def save(self, step: int, weights: str) -> None:
        path = Path("checkpoints") / f"{step:08}.json"
        (self.workdir / "checkpoints").mkdir(exist_ok=True)
        data = json.dumps({"step": step, "weights": weights}).encode()
        temporary = self.workdir / "checkpoints" / "partial"
        temporary.write_bytes(data)
        temporary.replace(self.workdir / path)
        self.emit(
            CheckpointSaved(
                step=step,
                epoch=1,
                path=str(path),
                sha256=hashlib.sha256(data).hexdigest(),
                size=len(data),
                best=step == 5,
            )
        )

    def result(self, steps: int, weights: str) -> Result:
        top1 = self.accuracy(self.spec.training.epoch_count) if self.in_study else 0.5
        return Result(
            best_epoch=1,
            steps=steps,
            student_validation=Accuracy(top1=top1, loss=1.0, images=10),
            int8_change=-0.01 if self.in_study else None,
            student_test=None,
            teacher_validation=Accuracy(top1=1.0, loss=1.0, images=10) if self.in_study else None,
            teacher_test=None,
            student_parameters=1,
            teacher_parameters=None,
            train_seconds=1.0,
            artifacts=[]
            if self.option("no_student", 0)
            else [
                self.artifact("student.safetensors", self.student(weights), "application/octet-stream"),
                self.artifact("report.json", b"{}", "application/json"),
            ],
        )

    def student(self, weights: str) -> bytes:
        return weights.encode().ljust(int(self.option("student_bytes", 0)))

    def artifact(self, name: str, data: bytes, media_type: str) -> Artifact:
        (self.workdir / "out").mkdir(exist_ok=True)
        (self.workdir / "out" / name).write_bytes(data)
        sha256 = hashlib.sha256(data).hexdigest()
        return Artifact(name=name, path=f"out/{name}", media_type=media_type, size=len(data), sha256=sha256)


if __name__ == "__main__":
    # WORKDIR --events-fd N, or - --socket-fd N
    job = next_job(int(sys.argv[3])) if sys.argv[1] == "-" else Job(Path(sys.argv[1]), int(sys.argv[3]))
    sys.exit(0 if job is None else TinyTrainer(job.workdir, job.events).run())
