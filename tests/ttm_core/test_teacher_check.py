"""The check of the teacher before training, on a teacher that is wrong in different ways."""

import json

import pytest
import safetensors
import safetensors.torch
import torch

from tests.ttm_core import factories
from ttm_core.errors import BadCheckpoint, TeacherAtChance
from ttm_core.pipeline.distill import distill
from ttm_core.spec import events
from ttm_core.spec.events import TeacherMeasured


def checked(digits_idx, teacher_file, workdir, *, allow_chance=True, **fields):
    """The event and the log of a run with these fields of the teacher."""
    spec = factories.spec(digits_idx, teacher_file, training={"epochs": 1})
    assert spec.teacher is not None
    changed = {**spec.teacher.model_dump(exclude_unset=True), "allow_chance": allow_chance, **fields}
    spec = spec.model_copy(update={"teacher": type(spec.teacher).model_validate(changed)})
    emitted: list[events.Event] = []
    try:
        distill(spec, workdir, on_event=emitted.append)
    finally:
        logs = [event.message for event in emitted if isinstance(event, events.Log)]
        (check,) = [event for event in emitted if isinstance(event, TeacherMeasured)]
    return check, logs


def test_a_good_teacher_has_an_interval_and_no_warnings(digits_idx, teacher_file, tmp_path):
    check, logs = checked(digits_idx, teacher_file, tmp_path)
    assert 0 < check.low < check.top1 <= check.high <= 1
    assert check.chance < 0.3
    assert (check.weak_classes, check.suggested_normalization) == ([], None)
    assert any(line.startswith(f"the teacher classifies {check.top1:.1%} of {check.images}") for line in logs)


def test_exchanged_classes_are_named(digits_idx, teacher_file, tmp_path):
    check, logs = checked(digits_idx, teacher_file, tmp_path, class_map=[1, 0, *range(2, 10)])
    assert {each.name for each in check.weak_classes} == {"0", "1"}
    assert all(each.top1 < 0.2 for each in check.weak_classes)
    assert any("much worse than its average on these classes" in line for line in logs)


def test_another_normalization_is_suggested_where_it_is_clearly_better(digits_idx, teacher_file, tmp_path):
    wrong = {"mean": [0.0], "std": [1 / 255]}
    check, logs = checked(digits_idx, teacher_file, tmp_path / "allowed", normalization=wrong)
    found = check.suggested_normalization
    assert found is not None
    assert found.top1 > found.current_top1 + 0.2
    assert found.normalization.std != wrong["std"]
    assert any(f"with the normalization of {found.preset}" in line for line in logs)


def test_the_normalization_of_the_images_is_suggested(digits_idx, teacher_file, tmp_path):
    """Training programs often measure it themselves, as the service does for a teacher that it trains."""
    with safetensors.safe_open(teacher_file, "pt") as opened:
        own = json.loads(opened.metadata()["ttm"])["normalization"]
    check, logs = checked(digits_idx, teacher_file, tmp_path, normalization={"mean": [1.0], "std": [0.02]})
    found = check.suggested_normalization
    assert found is not None
    assert found.preset == "the dataset's images"
    assert found.normalization.mean == pytest.approx(own["mean"], abs=0.02)
    assert found.normalization.std == pytest.approx(own["std"], abs=0.02)
    assert any("with the normalization of the dataset's images, the teacher classifies" in line for line in logs)


def test_the_error_at_chance_names_the_better_normalization(digits_idx, teacher_file, tmp_path):
    wrong = {"mean": [0.0], "std": [0.001]}  # all pixels but black ones are far from those of its training
    with pytest.raises(TeacherAtChance, match=r"not above chance .* With the normalization of .* Likely causes"):
        checked(digits_idx, teacher_file, tmp_path, allow_chance=False, normalization=wrong)


@pytest.mark.parametrize(
    ("name", "value", "kind", "cause"),
    [
        ("bn1.running_var", -100.0, torch.float32, r"Tensor 'bn1.running_var' has negative values"),
        ("fc.bias", 1e300, torch.float64, r"Tensor 'fc.bias' has float64 values beyond the range of float32"),
        ("fc.weight", 3e38, torch.float32, r"The teacher returns NaN, infinite or huge values"),
    ],
)
def test_a_teacher_without_finite_outputs_is_refused(digits_idx, teacher_file, tmp_path, name, value, kind, cause):
    state = safetensors.torch.load_file(teacher_file)
    state[name] = torch.full_like(state[name], value, dtype=kind)
    with safetensors.safe_open(teacher_file, "pt") as opened:
        metadata = opened.metadata()
    safetensors.torch.save_file(state, tmp_path / "teacher.safetensors", metadata)
    spec = factories.spec(digits_idx, tmp_path / "teacher.safetensors", training={"epochs": 1})
    with pytest.raises(BadCheckpoint, match=cause):
        distill(spec, tmp_path / "run")
