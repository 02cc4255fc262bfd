"""A teacher whose images are larger than those of the student: it is measured at its own size.

The classes differ in a checkerboard of single pixels, which images of half the size do not have.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from tests.ttm_core import factories
from ttm_core.errors import TeacherAtChance
from ttm_core.pipeline.distill import distill
from ttm_core.spec import events
from ttm_core.spec.damage.files import PREDICTIONS_FILE
from ttm_core.spec.damage.predictions import Predictions

OWN, SMALL = 32, 16
NORMALIZATION = {"mean": [0.5], "std": [0.25]}


@pytest.fixture(scope="module")
def boards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Gray images of 32 pixels in two classes."""
    folder = tmp_path_factory.mktemp("boards")
    draw = np.random.default_rng(0)
    board = (np.indices((OWN, OWN)).sum(0) % 2 * 2 - 1) * 90
    for split, count in (("train", 64), ("val", 40), ("test", 30)):
        for name, pattern in (("flat", 0), ("board", board)):
            where = folder / split / name
            where.mkdir(parents=True)
            for number in range(count):
                pixels = draw.integers(100, 156) + pattern + draw.integers(-8, 9, (OWN, OWN))
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(where / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def teacher(boards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights that distinguish the classes at 32 pixels, without metadata."""
    folder = tmp_path_factory.mktemp("teacher")
    student = {"architecture": "mini/resnet8_025", "normalization": NORMALIZATION}
    training = {"epochs": 8, "optimizer": {"name": "adamw", "learning_rate": 3e-3}, "augmentation": {"kind": "none"}}
    spec = factories.spec(boards, training=training, exports=["timm"], student=student)
    assert distill(spec, folder).student_test.top1 > 0.9  # type: ignore[union-attr]
    torch.save(load_file(folder / "out" / "student.safetensors"), folder / "teacher.pth")
    return folder / "teacher.pth"


def run(
    boards: Path, teacher: Path, workdir: Path, *, size: int = SMALL, **fields: Any
) -> tuple[events.Result, list[str], events.TeacherMeasured]:
    spec = factories.spec(
        boards,
        {"checkpoint": teacher.as_uri(), "architecture": "mini/resnet8_025", "normalization": NORMALIZATION, **fields},
        student={"architecture": "mini/resnet8_025", "image_size": size},
        training={"epochs": 1},
    )
    emitted: list[events.Event] = []
    result = distill(spec, workdir, on_event=emitted.append)
    [check] = [event for event in emitted if isinstance(event, events.TeacherMeasured)]
    return result, [event.message for event in emitted if isinstance(event, events.Log)], check


def test_accuracy_of_the_teacher_is_that_at_its_own_size(boards: Path, teacher: Path, tmp_path: Path) -> None:
    result, _, check = run(boards, teacher, tmp_path, image_size=OWN)
    assert result.teacher_validation is not None
    assert result.teacher_test is not None
    assert check.top1 == result.teacher_validation.top1 > 0.9
    assert result.teacher_test.top1 > 0.9
    assert check.suggested_image_size is None


def test_size_of_the_architecture_is_suggested_where_it_is_clearly_better(
    boards: Path, teacher: Path, tmp_path: Path
) -> None:
    with pytest.raises(TeacherAtChance, match="With images of 32 pixels it is"):
        run(boards, teacher, tmp_path / "failed")
    result, logs, check = run(boards, teacher, tmp_path / "allowed", allow_chance=True)
    found = check.suggested_image_size
    assert found is not None
    assert (found.image_size, found.current_top1, found.images) == (OWN, 0.5, 80)
    assert found.top1 > 0.9
    assert any("Set teacher.image_size to 32" in line for line in logs)
    assert result.teacher_test is not None
    assert result.teacher_test.top1 == 0.5


def test_students_of_different_sizes_are_evaluated_on_the_same_images(
    boards: Path, teacher: Path, tmp_path: Path
) -> None:
    found = []
    for size in (SMALL, OWN):
        run(boards, teacher, tmp_path / str(size), size=size, image_size=OWN)
        found.append(Predictions.from_bytes((tmp_path / str(size) / "out" / PREDICTIONS_FILE).read_bytes()))
    small, large = found
    assert small.info.data == large.info.data
    assert small.teacher is not None
    assert large.teacher is not None
    assert small.teacher.classes == large.teacher.classes
