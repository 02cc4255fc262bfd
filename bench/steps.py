"""Measures where the time of training steps goes when all teacher logits are stored.

    OMP_NUM_THREADS=1 python -m bench.steps [--epochs 4] [--repeats 3]

Runs of cifar/resnet8 on 5,000 made images of 32 x 32 pixels with WTTM, in float32 and in bfloat16: one that fills the
store, then warm ones. Prints the medians of their shares of the training loop's CPU time without validations.
"""

import argparse
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from bench.teacher import write_teacher
from ttm_core.data.views import Views
from ttm_core.methods.build import Objective
from ttm_core.pipeline.distill import distill
from ttm_core.spec.job import DistillSpec
from ttm_core.teacher_store.store import Stores
from ttm_core.teacher_store.stored_teacher import StoredTeacher
from ttm_core.training import distiller
from ttm_core.training.devices import keep_freed_memory
from ttm_core.training.evaluate import Evaluator
from ttm_core.training.trainer import Trainer

ARCHITECTURE = "cifar/resnet8"
IMAGES, BATCH = 5_000, 64
PARTS: dict[str, tuple[Any, str]] = {
    "the student's forward pass": (distiller, "outputs"),
    "losses": (Objective, "forward"),
    "backward pass": (torch.Tensor, "backward"),
    "optimizer": (torch.optim.SGD, "step"),
    "views: random numbers": (Views, "prepare"),
    "views: pixels": (Views, "finish"),
    "stored logits": (StoredTeacher, "logits"),
    "validation": (Evaluator, "validate"),
    "all": (Trainer, "train"),
}
INSIDE = list(PARTS)[:4]
OUTSIDE = "outside of forward, backward and optimizer"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    keep_freed_memory()  # as trainers do
    found = {precision: measured(precision, options.epochs, options.repeats) for precision in ("float32", "bfloat16")}
    print("| part | " + " | ".join(found) + " |\n|---|---|---|")
    for part in next(iter(found.values())):
        print(f"| {part} | " + " | ".join(f"{100 * shares[part]:.1f} %" for shares in found.values()) + " |")


def measured(precision: str, epochs: int, repeats: int, images: int = IMAGES) -> dict[str, float]:
    """The share of each part, the median of warm runs."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        teacher = folder / "teacher.safetensors"
        write_teacher(teacher, ARCHITECTURE, 10)
        spec = DistillSpec.model_validate(
            {
                "teacher": {"checkpoint": teacher.as_uri(), "allow_chance": True},
                "student": ARCHITECTURE,
                "dataset": _images(folder / "images", images).as_uri(),
                "method": "wttm",
                "training": {
                    "epochs": epochs,
                    "batch_size": BATCH,
                    "threads": 1,
                    "precision": precision,
                    "memory_format": "channels_last",
                },
                "exports": [],
                "report": {"gallery": False},
            }
        )
        run = partial(distill, spec, stores=Stores(folder / "stores"))
        run(folder / "cold")
        warm = []
        for number in range(repeats):
            with timed() as seconds:
                assert run(folder / str(number)).teacher_forwards == 0
            warm.append(_shares(seconds))
    return {part: statistics.median(shares[part] for shares in warm) for part in warm[0]}


def _shares(seconds: Counter[str]) -> dict[str, float]:
    whole = seconds["all"] - seconds["validation"]
    parts = {part: seconds[part] / whole for part in PARTS if part not in ("all", "validation")}
    parts["normalization, log, checkpoints and the loop"] = 1 - sum(parts.values())
    return {**parts, OUTSIDE: 1 - sum(parts[part] for part in INSIDE)}


@contextmanager
def timed() -> Iterator[Counter[str]]:
    """Adds up the CPU seconds of every part of the training loop while the block runs.

    Calls within another part, such as the views of a validation, belong to that part; calls before the loop to none.
    """
    seconds: Counter[str] = Counter()
    running: list[str] = []

    def timing(part: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            counts = part == "all" or running == ["all"]
            running.append(part)
            started = time.process_time()
            try:
                return original(*arguments, **options)
            finally:
                running.pop()
                if counts:
                    seconds[part] += time.process_time() - started

        return call

    patches = [patch.object(owner, name, timing(part, getattr(owner, name))) for part, (owner, name) in PARTS.items()]
    for each in patches:
        each.start()
    try:
        yield seconds
    finally:
        for each in patches:
            each.stop()


def _images(folder: Path, train: int) -> Path:
    """Random images in the binary format of CIFAR-10."""
    chance = np.random.default_rng(0)
    folder.mkdir()
    for name, count in (("data_batch_1.bin", train), ("test_batch.bin", 100)):
        records = chance.integers(0, 256, (count, 3073), dtype=np.uint8)
        records[:, 0] %= 10
        (folder / name).write_bytes(records.tobytes())
    return folder


if __name__ == "__main__":
    main()
