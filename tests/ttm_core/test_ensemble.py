"""Several teachers: their tempered distributions are averaged for all methods, online and stored."""

import hashlib
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.ttm_core import factories
from ttm_core import losses
from ttm_core.models.teachers.ensemble import mean_teacher_logits
from ttm_core.pipeline.distill import distill
from ttm_core.pipeline.inputs import Inputs
from ttm_core.spec import events
from ttm_core.spec.job import DistillSpec
from ttm_core.teacher_store.store import Stores, list_stores

TRAINING = {"epochs": 2, "augmentation": {"kind": "crop_flip", "padding": 1}}


def sha256(workdir: Path) -> str:
    return hashlib.sha256((workdir / "out" / "student.safetensors").read_bytes()).hexdigest()


def logits(seed: int, *, spread: float = 3.0) -> torch.Tensor:
    return spread * torch.randn(5, 7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(
    seeds=st.lists(st.integers(0, 1000), min_size=1, max_size=4),
    temperature=st.floats(0.5, 10),
    weight=st.floats(0.1, 10),
)
def test_ensemble_distribution_is_the_weighted_mean(seeds, temperature, weight):
    each = [logits(seed) for seed in seeds]
    weights = [weight, *[1.0] * (len(seeds) - 1)]
    mean = (mean_teacher_logits(each, weights, temperature).double() / temperature).softmax(1)
    total = sum(weights)
    expected = sum(w / total * (v / temperature).softmax(1) for w, v in zip(weights, each, strict=True))
    torch.testing.assert_close(mean, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("loss", [losses.ttm, losses.wttm])
def test_ensemble_of_equal_teachers_equals_one_teacher(loss):
    z, v = logits(1).float(), logits(2).float()
    together = mean_teacher_logits([v, v], [3.0, 0.5], temperature=5.0)
    torch.testing.assert_close(loss(z, together, gamma=0.2), loss(z, v, gamma=0.2), rtol=1e-5, atol=1e-6)


def test_extreme_logits_stay_finite():
    v = torch.tensor([[60_000.0, -60_000.0], [-1e4, 1e4]])
    assert mean_teacher_logits([v, -v], [1.0, 1.0], 0.5).isfinite().all()


@pytest.fixture
def other_teacher(tmp_path: Path, digits_idx: Path) -> Path:
    """A teacher of another architecture and another normalization."""
    spec = DistillSpec.model_validate(
        {
            "student": {"architecture": "mini/resnet8_025", "normalization": {"mean": [0.5], "std": [0.4]}},
            "dataset": digits_idx.as_uri(),
            "method": "ce",
            "training": {"epochs": 1, "threads": 1, "seed": 5},
            "exports": [],
        }
    )
    distill(spec, tmp_path / "other")
    return tmp_path / "other" / "out" / "student.safetensors"


def spec_of(digits_idx: Path, first: Path, second: Path, **training: object) -> DistillSpec:
    alone = factories.spec(digits_idx, first, training={**TRAINING, **training}).model_dump(mode="json")
    teachers = [{"checkpoint": first.as_uri(), "weight": 2}, second.as_uri()]
    return DistillSpec.model_validate({**alone, "teacher": None, "teachers": teachers})


def test_run_with_two_teachers_stores_both_and_evaluates_their_mean(digits_idx, teacher_file, other_teacher, tmp_path):
    students = set()
    for name in ("cold", "warm"):
        emitted: list[events.Event] = []
        spec = spec_of(digits_idx, teacher_file, other_teacher)
        result = distill(spec, tmp_path / name, stores=Stores(tmp_path / "stores"), on_event=emitted.append)
        assert result.teacher_forwards in (range(2 * 2 * 250, 2 * 2 * 270) if name == "cold" else range(1))
        students.add(sha256(tmp_path / name))
        resolved = next(event for event in emitted if isinstance(event, events.Resolved))
        assert resolved.spec.teachers is not None
        assert [teacher.architecture is not None for teacher in resolved.spec.teachers] == [True, True]
        assert resolved.teacher_parameters == result.teacher_parameters
    assert len(students) == 1
    assert len(list_stores(tmp_path / "stores")) == 2
    assert result.teacher_validation is not None
    assert result.teacher_validation.top1 > 0.5
    assert DistillSpec.model_validate(resolved.spec.model_dump()) == resolved.spec

    alone = distill(factories.spec(digits_idx, teacher_file, training=TRAINING), tmp_path / "alone")
    assert alone.steps == result.steps
    assert sha256(tmp_path / "alone") not in students


def test_stored_and_online_ensembles_agree_within_rounding(digits_idx, teacher_file, other_teacher, tmp_path):
    results = []
    for logits_are in ("online", "stored"):
        spec = spec_of(digits_idx, teacher_file, other_teacher, teacher_logits=logits_are)
        results.append(distill(spec, tmp_path / logits_are, inputs=Inputs.from_spec(spec)).student_validation.loss)
    assert results[0] == pytest.approx(results[1], rel=0.02)


@pytest.mark.parametrize(
    "method",
    [
        "wkd",
        {"kind": "wttm", "features": "crd"},
        {"kind": "ttm", "features": "itrd"},
        {"kind": "kd", "logit_standardization": True},
    ],
)
def test_methods_without_averaging_refuse_several_teachers(method):
    document = {
        "teachers": ["file:///a", "file:///b"],
        "student": "mini/resnet8_025",
        "dataset": "file:///d",
        "method": method,
    }
    with pytest.raises(ValidationError, match="cannot be averaged over several teachers"):
        DistillSpec.model_validate(document)


def test_teacher_and_teachers_exclude_each_other():
    document = {"teachers": ["file:///a", "file:///b"], "student": "mini/resnet8_025", "dataset": "file:///d"}
    assert [teacher.checkpoint for teacher in DistillSpec.model_validate(document).all_teachers] == [
        "file:///a",
        "file:///b",
    ]
    with pytest.raises(ValidationError, match="not both"):
        DistillSpec.model_validate({**document, "teacher": "file:///c"})
    with pytest.raises(ValidationError, match="at least 2 items"):
        DistillSpec.model_validate({**document, "teachers": ["file:///a"]})


def test_teachers_replace_the_teacher_of_a_recipe():
    spec = DistillSpec.model_validate(
        {"recipe": "cifar100/resnet56-resnet20/wttm", "teachers": ["file:///a", "file:///b"], "dataset": "file:///d"}
    )
    assert spec.teacher is None
    assert len(spec.all_teachers) == 2


def test_each_teacher_of_an_ensemble_is_evaluated_at_its_own_size(digits_idx, teacher_file, tmp_path):
    """A second teacher with larger images and a negligible weight does not change what the first one sees."""
    student = {"architecture": "mini/resnet8_025", "image_size": 24}
    distill(factories.spec(digits_idx, student=student, training={"epochs": 1}), tmp_path / "larger")
    larger = (tmp_path / "larger/out/student.safetensors").as_uri()
    alone = factories.spec(digits_idx, teacher_file)
    teachers = [{"checkpoint": teacher_file.as_uri(), "weight": 1e6}, {"checkpoint": larger, "weight": 1e-6}]
    both = DistillSpec.model_validate({**alone.model_dump(mode="json"), "teacher": None, "teachers": teachers})
    expected, found = (distill(spec, tmp_path / name).teacher_validation for name, spec in (("1", alone), ("2", both)))
    assert expected is not None
    assert found is not None
    assert found.top1 == expected.top1
    assert found.loss == pytest.approx(expected.loss, abs=1e-4)
