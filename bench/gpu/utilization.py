"""Measures how busy a GPU is during a whole run on photographs.

    python -m bench.gpu.utilization [--images 2048] [--epochs 16]

Distills resnet50 into mobilenetv1_100 at 224 pixels from JPEG files, with resized crops that are decoded for every
view: first with an empty teacher store, then with a full one. Prints a table with the mean utilization of the GPU, as
its driver reports it, from the first to the last step.
"""

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.teacher import write_teacher
from bench.views import jpeg
from ttm_core.pipeline.distill import distill
from ttm_core.spec.events import Event, Metrics, PhaseChanged
from ttm_core.spec.job import DistillSpec
from ttm_core.teacher_store.store import Stores

TEACHER, STUDENT, SIZE, BATCH = "resnet50", "mobilenetv1_100", 224, 256
CLASSES, DIFFERENT = 8, 64
TARGET = 0.8
_INTERVAL = 0.2  # seconds; the driver's value is a mean over at most a second


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--epochs", type=int, default=16)
    options = parser.parse_args()
    print(f"{TEACHER} → {STUDENT}, {SIZE} px, {options.epochs} epochs of {options.images:,} JPEG files (500 x 375)\n")
    print(f"| teacher store | images/s | GPU utilization (target {TARGET:.0%}) | share of time that waits for data |")
    print("|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        data = write_photographs(Path(folder) / "data", options.images)
        for store in ("empty", "full"):
            run = measure(data, Path(folder), store, epochs=options.epochs)
            rate = options.images * options.epochs / run.seconds
            print(f"| {store} | {rate:,.0f} | {run.busy:.0%} | {run.waiting:.0%} |", flush=True)


@dataclass
class Run:
    """What is measured between the first and the last step of a run, validations included."""

    loads: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def busy(self) -> float:
        """The mean utilization, in [0, 1]."""
        return statistics.fmean(self.loads)

    @property
    def waiting(self) -> float:
        """The mean share of time in which the training loop waits for a batch."""
        return statistics.fmean(self.waits)


def measure(
    data: Path,
    folder: Path,
    name: str,
    *,
    epochs: int,
    teacher: str = TEACHER,
    student: str = STUDENT,
    size: int = SIZE,
    batch: int = BATCH,
    utilization: Callable[[], float] | None = None,
) -> Run:
    """Runs a distillation in `folder`/`name` with the teacher stores of `folder`.

    `utilization` returns that of the first GPU now; by default, its driver is asked.
    """
    file = folder / "teacher.safetensors"
    write_teacher(file, teacher, CLASSES)
    spec = DistillSpec.model_validate(
        {
            "teacher": {"checkpoint": file.as_uri(), "allow_chance": True},
            "student": {"architecture": student, "image_size": size},
            "dataset": data.as_uri(),
            "training": {"epochs": epochs, "batch_size": batch, "augmentation": "resized_crop"},
            "exports": [],
        }
    )
    run, training = Run(), threading.Event()

    def on_event(event: Event) -> None:
        match event:
            case PhaseChanged(phase="training"):
                training.set()
                run.seconds -= time.monotonic()
            case PhaseChanged() if training.is_set():
                training.clear()
                run.seconds += time.monotonic()
            case Metrics(values={"train/data_wait_share": share}):
                run.waits.append(share)

    with _sampling(run.loads, utilization or _of_first_gpu, training):
        distill(spec, folder / name, stores=Stores(folder / "stores"), on_event=on_event)
    return run


@contextmanager
def _sampling(into: list[float], utilization: Callable[[], float], training: threading.Event) -> Iterator[None]:
    """Samples the utilization at intervals while `training` is set."""
    ended = threading.Event()

    def sample() -> None:
        while not ended.wait(_INTERVAL):
            if training.is_set():
                into.append(utilization())

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _of_first_gpu() -> float:
    import pynvml

    pynvml.nvmlInit()
    return float(pynvml.nvmlDeviceGetUtilizationRates(pynvml.nvmlDeviceGetHandleByIndex(0)).gpu) / 100


def write_photographs(folder: Path, count: int) -> Path:
    """An image folder of JPEG files with a validation split. Files repeat, because making one takes long."""
    files = [jpeg(seed, 500, 375) for seed in range(min(DIFFERENT, count))]
    for split, number in (("train", count), ("val", CLASSES * 2)):
        for index in range(number):
            path = folder / split / f"class-{index % CLASSES}" / f"{index:06}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(files[index % len(files)])
    return folder


if __name__ == "__main__":
    main()
