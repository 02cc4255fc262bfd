"""Method specs: fields, requirements and validation errors."""

import subprocess
import sys

import pytest
from pydantic import TypeAdapter, ValidationError

from ttm_core.spec.job import DistillSpec
from ttm_core.spec.method.methods import MethodSpec
from ttm_core.spec.method.requirements import MethodRequirements
from ttm_core.spec.method.schedules import CosineRamp, LinearRamp, WarmUp, at

LOGIT_METHODS = ["kd", "ttm", "wttm", "dkd", "dist", "nkd", "wkd"]
METHOD: TypeAdapter[MethodSpec] = TypeAdapter(MethodSpec)


def method(kind, **fields):
    return METHOD.validate_python({"kind": kind, **fields})


def spec(**fields):
    return DistillSpec.model_validate(
        {"student": "cifar/resnet20", "dataset": "file:///d", "teacher": "file:///t", **fields}
    )


@pytest.mark.parametrize(
    ("kind", "fields", "expected"),
    [
        ("ce", {}, MethodRequirements(labels=True, teacher=False)),
        ("kd", {}, MethodRequirements(labels=True, teacher=True)),
        ("kd", {"ce_weight": 0}, MethodRequirements(labels=False, teacher=True)),
        ("ttm", {"ce_weight": 0}, MethodRequirements(labels=False, teacher=True)),
        ("wttm", {}, MethodRequirements(labels=True, teacher=True)),
        ("dist", {"ce_weight": 0}, MethodRequirements(labels=False, teacher=True)),
        (
            "dkd",
            {"ce_weight": 0},
            MethodRequirements(labels=True, teacher=True, mixes=False, labels_in_teacher_term=True),
        ),
        ("nkd", {"ce_weight": 0}, MethodRequirements(labels=True, teacher=True, labels_in_teacher_term=True)),
        (
            "wkd",
            {"ce_weight": 0},
            MethodRequirements(
                labels=True,
                teacher=True,
                mixes=False,
                one_teacher=True,
                class_relations=True,
                labels_in_teacher_term=True,
            ),
        ),
        (
            "wttm",
            {"ce_weight": 0, "features": "itrd"},
            MethodRequirements(labels=False, teacher=True, features="pooled", one_teacher=True),
        ),
        (
            "wttm",
            {"features": "crd"},
            MethodRequirements(
                labels=True, teacher=True, features="pooled", mixes=False, one_teacher=True, has_memory_bank=True
            ),
        ),
        (
            "ttm",
            {"features": "vitkd"},
            MethodRequirements(labels=True, teacher=True, features="tokens", one_teacher=True),
        ),
    ],
)
def test_requirements(kind, fields, expected):
    assert method(kind, **fields).requirements == expected


def test_stored_logits_suffice_without_features():
    assert all(method(kind).requirements.stored_logits_suffice for kind in LOGIT_METHODS)
    assert not any(method(kind, features="crd").requirements.stored_logits_suffice for kind in LOGIT_METHODS)
    assert not method("ce").requirements.stored_logits_suffice


@pytest.mark.parametrize("kind", ["ce", *LOGIT_METHODS])
def test_method_round_trips_through_json(kind):
    parsed = method(kind) if kind == "ce" else method(kind, features="crd", logit_standardization=True)
    assert METHOD.validate_json(METHOD.dump_json(parsed)) == parsed


@pytest.mark.parametrize(
    ("ramp", "values"),
    [
        (3.0, [3, 3, 3, 3, 3]),
        (LinearRamp(first=1, last=3), [1, 1.5, 2, 2.5, 3]),
        (CosineRamp(first=1, last=3), [1, 2 - 0.5**0.5, 2, 2 + 0.5**0.5, 3]),
        (WarmUp(epochs=4, last=8), [0, 5, 8, 8, 8]),
    ],
)
def test_schedules(ramp, values):
    assert [at(ramp, epoch, 10) for epoch in (0, 2.5, 5, 7.5, 10)] == pytest.approx(values)


@pytest.mark.parametrize("kind", LOGIT_METHODS)
def test_schema_has_the_actual_defaults(kind):
    parsed = method(kind)
    properties = type(parsed).model_json_schema()["properties"]
    held = parsed.model_dump(mode="json", exclude={"temperature"} if "gamma" in properties else set())
    assert {name: properties[name].get("default") for name in held} == held


@pytest.mark.parametrize(
    ("fields", "weight"),
    [({}, 0.1), ({"logit_standardization": True}, 1.0), ({"logit_standardization": True, "ce_weight": 0.3}, 0.3)],
)
def test_kd_with_standardized_logits_weights_the_labels_more(fields, weight):
    assert method("kd", **fields).ce_weight == weight


def test_gamma_ramp_has_no_temperature():
    parsed = method(
        "wttm", gamma={"kind": "linear", "first": 0.5, "last": 0.1}, beta={"kind": "warmup", "epochs": 5, "last": 4}
    )
    assert (parsed.gamma, parsed.temperature) == (LinearRamp(first=0.5, last=0.1), None)
    assert METHOD.validate_json(METHOD.dump_json(parsed)) == parsed


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"gamma": {"kind": "linear", "first": 0.5, "last": 0}}, "greater than 0 at every step"),
        ({"gamma": {"kind": "warmup", "epochs": 3, "last": 0.2}}, "greater than 0 at every step"),
        ({"gamma": 0}, "greater than 0 at every step"),
        ({"gamma": -1}, "greater than or equal to 0"),
        ({"gamma": {"kind": "linear", "first": 0.5, "last": 0.1}, "temperature": 4}, "if gamma is a ramp"),
        ({"gamma": 0.5, "temperature": 4}, "set one of them"),
        ({"beta": {"kind": "staircase"}}, "a number or a ramp of kind"),
        ({"beta": "much"}, "valid number"),
        ({"features": {"kind": "fitnet"}}, "crd"),
    ],
)
def test_refused_fields(fields, message):
    with pytest.raises(ValidationError, match=message):
        method("wttm", **fields)


def test_wkd_refuses_regularization_that_underflows():
    with pytest.raises(ValidationError, match="regularization"):
        method("wkd", regularization=0.02)


@pytest.mark.parametrize("kind", LOGIT_METHODS)
def test_every_method_except_ce_requires_a_teacher(kind):
    with pytest.raises(ValidationError, match=f"'{kind}' requires a teacher"):
        spec(teacher=None, method=kind)


def test_vitkd_requires_two_transformers():
    vitkd = {"kind": "wttm", "features": "vitkd"}
    with pytest.raises(ValidationError, match=r"student 'cifar/resnet20' is not one"):
        spec(method=vitkd)
    teacher = {"checkpoint": "file:///t", "architecture": "resnet50"}
    with pytest.raises(ValidationError, match="teacher 'resnet50' is not one"):
        spec(method=vitkd, student="deit_tiny_patch16_224", teacher=teacher)
    with pytest.raises(ValidationError, match="unknown architecture 'deit_tinny'"):
        spec(method=vitkd, student="deit_tinny")
    teacher["architecture"] = "deit3_small_patch16_224"
    assert spec(method=vitkd, student="deit_tiny_patch16_224", teacher=teacher).method.requirements.features == "tokens"


def test_method_specs_do_not_import_torch():
    code = "import sys, ttm_core.spec.job; assert not {'torch', 'timm', 'numpy'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)
