"""Why open fields of a spec have their values, and the default weights that depend on the number of steps."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.checkpoints import checkpoint
from tests.ttm_core import factories
from ttm_core.data.dataset import Split
from ttm_core.data.formats.layout import NO_LABEL
from ttm_core.data.images import ArrayImages
from ttm_core.pipeline.decisions.default_weight import WARM_UP_STEPS
from ttm_core.pipeline.decisions.learning_rate import with_learning_rate
from ttm_core.pipeline.decisions.length import with_length
from ttm_core.pipeline.distill import distill
from ttm_core.spec import events
from ttm_core.spec.job import DistillSpec
from ttm_core.spec.method.schedules import WarmUp, at
from ttm_core.spec.structure import ModelStructure
from ttm_core.spec.training.training import TrainingSpec, default_epochs
from ttm_core.training.trainer import Interrupted

STEPS_PER_EPOCH = 9


def resolved(spec: DistillSpec, workdir: Any) -> events.Resolved:
    emitted: list[events.Event] = []
    distill(spec, workdir, on_event=emitted.append)
    (event,) = [event for event in emitted if isinstance(event, events.Resolved)]
    return event


def decided(given: Any, chosen: Any, path: str = "") -> set[str]:
    """The paths of fields that `given` leaves open and `chosen` has."""
    if isinstance(given, dict) and isinstance(chosen, dict):
        parts = [decided(given[name], chosen[name], f"{path}.{name}".lstrip(".")) for name in given if name in chosen]
        return set().union(*parts)
    if isinstance(given, list) and isinstance(chosen, list) and len(given) == len(chosen):
        return set().union(
            *(decided(*pair, f"{path}.{index}") for index, pair in enumerate(zip(given, chosen, strict=True)))
        )
    return {path} if given in (None, "auto", "fit") and chosen != given else set()


def test_every_decided_field_has_a_reason_and_a_resumed_run_keeps_the_values(digits_idx, teacher_file, tmp_path):
    spec = factories.spec(digits_idx, teacher_file, method="dkd", exports=[], training={"epochs": 1})
    # The factory states these fields.
    spec = spec.model_copy(
        update={
            "training": spec.training.model_copy(update={"augmentation": None, "threads": None, "batch_size": None})
        }
    )
    first = resolved(spec, tmp_path)
    assert set(first.reasons) == decided(spec.model_dump(), first.spec.model_dump())
    assert {
        "method.weight",
        "training.augmentation",
        "student.normalization",
        "teacher.architecture",
        "training.batch_size",
    } <= set(first.reasons)
    assert all(reason.endswith(".") for reason in first.reasons.values())
    assert "The size of the images" in first.reasons["student.image_size"]

    weight = first.spec.method.weight
    assert isinstance(weight, WarmUp)
    assert (weight.first, weight.last) == (0, 1)
    assert weight.epochs * STEPS_PER_EPOCH == pytest.approx(WARM_UP_STEPS)
    assert at(weight, 20 * 782 / STEPS_PER_EPOCH, epochs=10_000) == pytest.approx(1)
    assert f"over {WARM_UP_STEPS:,} steps and ends at 0.000575 here" in first.reasons["method.weight"]

    again = resolved(first.spec, tmp_path)
    assert (again.spec, again.reasons) == (first.spec, {})


def test_default_epochs_have_a_reason(digits_idx, tmp_path):
    spec = factories.spec(digits_idx)
    spec = spec.model_copy(update={"training": spec.training.model_copy(update={"epochs": None})})
    emitted: list[events.Event] = []
    with pytest.raises(Interrupted):
        distill(spec, tmp_path, on_event=emitted.append, should_stop=lambda: True)
    event = next(event for event in emitted if isinstance(event, events.Resolved))
    assert (event.spec.training.epochs, event.total_steps) == (100, 100 * STEPS_PER_EPOCH)
    assert "about 320,000 images, but at least 30 and at most 100" in event.reasons["training.epochs"]


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ({"kind": "dist", "ce_weight": 0}, 1.0),
        ({"kind": "wkd", "weight": 3}, 3.0),
    ],
)
def test_a_weight_is_constant_without_cross_entropy_and_where_it_is_given(
    method, expected, digits_idx, teacher_file, tmp_path
):
    spec = factories.spec(digits_idx, teacher_file, method=method, exports=[], training={"epochs": 1})
    event = resolved(spec, tmp_path)
    assert event.spec.method.weight == expected
    assert ("method.weight" in event.reasons) == ("weight" not in method)


@pytest.mark.parametrize(
    ("images", "expected"),
    [(1, 100), (3_200, 100), (3_201, 100), (4_500, 72), (10_666, 31), (10_667, 30), (50_000, 30), (1_281_167, 30)],
)
def test_epochs_depend_on_the_number_of_images(images, expected):
    assert default_epochs(images) == expected


def test_epochs_count_the_unlabelled_images_of_an_epoch():
    labels = torch.tensor([0] * 4_000 + [NO_LABEL] * 4_000)
    split = Split(ArrayImages(torch.zeros(8_000, 1, 1, 1, dtype=torch.uint8)), labels, np.arange(8_000))
    assert with_length(TrainingSpec(), split).epochs == 40
    assert with_length(TrainingSpec(unlabelled_ratio=0.25), split).epochs == 64
    assert with_length(TrainingSpec(epochs=5, unlabelled_ratio=0.25), split).epochs == 5


@pytest.mark.parametrize(
    ("images", "training", "expected"),
    [
        (6_336, {"epochs": 30}, 32),
        (6_464, {"epochs": 30}, 64),
        (6_464, {"epochs": 29}, 32),
        (1_920, {}, 64),
        (1_800, {}, 32),
        (100, {"gradient_accumulation": 16, "devices": 2}, 64),
        (100, {"batch_size": 48}, 48),
    ],
)
def test_batch_size_depends_on_the_number_of_steps(images, training, expected):
    pixels = torch.zeros(images, 1, 1, 1, dtype=torch.uint8)
    split = Split(ArrayImages(pixels), torch.zeros(images, dtype=torch.int64), np.arange(images))
    assert with_length(TrainingSpec.model_validate(training), split).images_per_step == expected


@pytest.mark.parametrize(
    ("architecture", "optimizer", "expected"),
    [
        ("mini/resnet8_025", "sgd", 0.05),
        ("regnety_002", "sgd", 0.05),  # its groups have several channels
        ("cifar/MobileNetV2", "sgd", 0.01),
        ("cifar/ShuffleV1", {"name": "sgd", "nesterov": True}, 0.01),
        ("convnext_atto", "sgd", 0.01),
        ("vit_tiny_patch16_224", "sgd", 0.01),
        ("cifar/MobileNetV2", {"name": "sgd", "learning_rate": 0.05}, 0.05),
        ("cifar/MobileNetV2", "adamw", 0.001),
    ],
)
def test_default_learning_rate_of_sgd_is_lower_for_depthwise_networks_and_transformers(
    architecture: str, optimizer: Any, expected: float
) -> None:
    training = TrainingSpec.model_validate({"optimizer": optimizer})
    structure = ModelStructure(architecture=architecture, num_classes=10, image_size=32)
    found = with_learning_rate(training.optimizer, structure)
    assert found == training.optimizer.model_copy(update={"learning_rate": expected})


def test_learning_rate_of_a_student_cut_out_of_a_depthwise_teacher(digits_idx: Path, tmp_path: Path) -> None:
    (tmp_path / "teacher.pt").write_bytes(checkpoint("cifar/MobileNetV2", 10))
    teacher = {"checkpoint": (tmp_path / "teacher.pt").as_uri(), "architecture": "cifar/MobileNetV2"}
    student = {"prune": {"macs": 0.5, "steps": 2, "recovery_steps": 2}}
    spec = factories.spec(digits_idx, {**teacher, "allow_chance": True}, student=student, training={"epochs": 1})
    found = resolved(spec, tmp_path / "run")
    assert found.spec.training.optimizer.learning_rate == 0.01
    assert "depthwise" in found.reasons["training.optimizer.learning_rate"]
