"""Study specs: defaults, candidates, trials, and validation errors by field."""

import pytest
from pydantic import ValidationError

from ttm_core.spec.study.study import MAX_CANDIDATES, StudySpec

SMALLEST = {"teacher": "upload:1", "dataset": "file:///data/pets", "limits": {"retention": 0.97}}


def study(**fields: object) -> StudySpec:
    return StudySpec.model_validate({**SMALLEST, **fields})


def test_teacher_dataset_and_one_limit_are_enough():
    smallest = study()
    assert smallest.resolved_goal == "smallest"
    assert study(limits={"bytes": 5e6}).resolved_goal == "most_accurate"
    assert 5 <= len(smallest.candidates()) <= 27
    assert StudySpec.model_validate_json(smallest.model_dump_json()) == smallest
    assert smallest.training.epochs == 30


@pytest.mark.parametrize(
    ("fields", "place", "words"),
    [
        ({"limits": {}}, ["limits"], "at least one of retention"),
        ({"limits": {"retention": 0.9, "device": "pi"}}, ["limits"], "no effect without latency_ms"),
        ({"limits": {"bytes": -1}}, ["limits", "bytes"], "greater than or equal to 1"),
        ({"limits": {"bytes": 5e6}, "goal": "smallest"}, ["goal"], "requires limits.retention"),
        ({"limits": {"bytes": 5e6, "precision": "int8"}, "exports": ["onnx"]}, ["exports"], "must include 'onnx_int8'"),
        (
            {"limits": {"bytes": 5e6, "precision": "int8"}, "quantize": {"mode": "none"}},
            ["exports"],
            "quantize.mode 'none' makes no int8 file",
        ),
        (
            {"limits": {"bytes": 5e6}, "exports": ["timm", "onnx_int8"], "quantize": {"mode": "none"}},
            ["exports"],
            "quantize.mode 'none' makes no int8 file",
        ),
        ({"students": []}, ["students", "list"], "at least 1"),
        (
            {"students": [{"family": "nothing*"}]},
            ["students", "list", 0, "family", "family"],
            "no architecture matches",
        ),
        ({"students": [{"family": "*"}]}, ["students", "list", 0, "family", "family"], "at most 64"),
        ({"students": [{"family": "regnet*"}, {"family": "mobilenet*"}]}, ["students"], "at most 64"),
        ({"students": ["resnet18", {"prune": {"latency_ms": 5}}]}, ["students"], "set limits.latency_ms"),
        ({"method": "ce"}, ["method"], "labels alone"),
        ({"training": {"epochs": 2}}, ["training"], "at least 3"),
        ({"training": {"early_stopping_patience": 2}}, ["training"], "early_stopping_patience"),
        ({"training": {"views": "fit"}}, ["training"], "depends on the worker"),
        ({"search": {"training.epochs": [1, 2]}}, ["search"], "cannot vary"),
        ({"search": {"training.augmentation.padding": [1]}}, ["search"], "cannot vary"),
        ({"search": {"method.nothing": [1]}}, ["search"], "method.nothing = 1 is not valid"),
        ({"search": {"method.beta": ["a"]}}, ["search"], "method.beta = 'a' is not valid"),
        ({"search": {"training.optimizer.learning_rate": {"log": [0, 1]}}}, None, "greater than 0"),
        ({"search": {"training.optimizer.learning_rate": {"log": [2, 1]}}}, None, "less than"),
        ({"search": {"training.optimizer.learning_rate": {}}}, None, "either log or linear"),
        ({"search": {"student.drop_path": [0.1]}}, None, "match pattern"),
        ({"search": {"training.batch_size": list(range(2, 102)), "method.beta": [1, 2]}}, ["search"], "at most 256"),
        ({"budget": {"candidates": 1000}}, ["budget", "candidates"], "less than or equal to 256"),
    ],
)
def test_errors_name_the_field(fields, place, words):
    with pytest.raises(ValidationError) as caught:
        study(**fields)
    (error,) = caught.value.errors()
    assert words in error["msg"]
    if place is not None:
        # A discriminated union adds the name of the method to the path.
        assert list(error["loc"]) == place


def test_float_files_need_no_quantization():
    for precision in ("any", "fp32"):
        spec = study(limits={"bytes": 5e6, "precision": precision}, quantize={"mode": "none"})
        assert spec.resolved_precision == "fp32"


def test_candidates_are_each_student_with_each_combination():
    found = study(
        students=["resnet18", {"architecture": "resnet34"}, {"family": "resnet1[08]"}], search={"method.beta": [1, 2]}
    ).candidates()
    assert [(each.number, each.student.architecture, each.values["method.beta"]) for each in found] == [
        (1, "resnet18", 1),
        (2, "resnet18", 2),
        (3, "resnet34", 1),
        (4, "resnet34", 2),
    ]


def test_equal_values_are_one_candidate():
    found = study(
        students=["resnet18"],
        search={"method.beta": [2, 1, 1, 1.0, 2.0], "training.optimizer.nesterov": [True, False, True]},
    )
    assert found.search["method.beta"] == [2, 1]
    assert [tuple(each.values.values()) for each in found.candidates()] == [
        (2, True),
        (2, False),
        (1, True),
        (1, False),
    ]


def test_ranges_are_sampled_evenly_and_repeatably():
    fields = {
        "students": ["resnet18"],
        "search": {"training.optimizer.learning_rate": {"log": [0.01, 0.1]}, "method.beta": [1, 2, 4]},
        "budget": {"candidates": 9},
    }
    found = study(**fields).candidates()
    assert found == study(**fields).candidates()
    assert found != study(**fields, seed=1).candidates()
    rates = sorted(each.values["training.optimizer.learning_rate"] for each in found)
    # One in each ninth of the logarithmic range.
    assert all(0.01 * 10 ** (part / 9) <= rate * 1.001 for part, rate in enumerate(rates))
    assert all(rate * 0.999 <= 0.01 * 10 ** ((part + 1) / 9) for part, rate in enumerate(rates))
    assert sorted(each.values["method.beta"] for each in found) == [1, 1, 1, 2, 2, 2, 4, 4, 4]


def test_a_trial_is_a_job_with_the_values_and_the_seed():
    spec = study(
        students=["cifar/resnet20"],
        search={"method.gamma": [0.5], "training.optimizer.learning_rate": [0.2]},
        training={"epochs": 9, "view_seed": 3},
        seed=10,
        exports=["onnx"],
    )
    (candidate,) = spec.candidates()
    trial = spec.trial(candidate.student, candidate.values, seed=2)
    assert (trial.method.gamma, trial.method.temperature) == (0.5, 2.0)
    assert (trial.training.optimizer.learning_rate, trial.training.seed, trial.training.view_seed) == (0.2, 12, 3)
    assert trial.exports == ["onnx"]
    assert trial.quantize == spec.quantize
    baseline = spec.trial(candidate.student, candidate.values, seed=2, baseline=True)
    assert baseline.method.kind == "ce"
    assert baseline.training == trial.training


def test_automatic_students_fit_the_limits_and_the_teacher():
    def proposed(**fields: object) -> list[str]:
        pruned, named = [], []
        for each in study(**fields).candidates():
            if each.student.prune is not None:
                pruned.append(each.student.prune.macs)
            else:
                named.append(each.student.architecture)
        assert pruned == [0.5, 0.3, 0.15]
        return named

    small = proposed(teacher={"checkpoint": "upload:1", "architecture": "cifar/resnet56"})
    assert all(name.startswith("cifar/") for name in small)
    large = proposed(teacher={"checkpoint": "upload:1", "architecture": "resnet50"}, limits={"parameters": 5_000_000})
    assert 10 <= len(large) <= 24
    assert not any(name.startswith("cifar/") for name in large)
    assert proposed(limits={"parameters": 1}) == []
    assert len(study(students=[{"family": "mobilenetv3_*"}]).candidates()) < MAX_CANDIDATES
