"""Students cut out of their teacher: the target, the weights, the files, and runs that resume."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from tests.support.checkpoints import checkpoint
from tests.support.models import create_model
from tests.ttm_core import factories
from ttm_core.errors import BadSpec
from ttm_core.export import load_student
from ttm_core.models import build
from ttm_core.models.macs import macs
from ttm_core.models.pruning.history import prune_by_history
from ttm_core.models.pruning.search import prune_in_steps
from ttm_core.models.weights import read_weights
from ttm_core.pipeline.distill import distill
from ttm_core.spec import events
from ttm_core.spec.job import DistillSpec
from ttm_core.spec.structure import ModelStructure
from ttm_core.spec.student import prunable
from ttm_core.spec.student.pruning import PruneSpec
from ttm_core.training.trainer import Interrupted

PRUNE = {"macs": 0.4, "round_to": 2}


def student_of(workdir: Path) -> Path:
    return workdir / "out" / "student.safetensors"


@pytest.mark.parametrize(
    ("name", "size", "round_to", "target"),
    [
        ("cifar/resnet20", 32, 4, "macs"),
        ("resnet18", 32, 8, "macs"),
        ("mobilenetv2_100", 32, 8, "parameters"),
        ("vit_tiny_patch16_224", 32, 8, "parameters"),
        pytest.param("cifar/resnet20", 32, 4, "parameters", marks=pytest.mark.thorough),
        pytest.param("resnet18", 64, 8, "parameters", marks=pytest.mark.thorough),
        pytest.param("mobilenetv2_100", 64, 8, "macs", marks=pytest.mark.thorough),
        pytest.param("vit_tiny_patch16_224", 64, 8, "macs", marks=pytest.mark.thorough),
    ],
)
def test_target_is_met_from_below(name: str, size: int, round_to: int, target: str) -> None:
    torch.manual_seed(0)
    structure = ModelStructure(architecture=name, num_classes=5, image_size=size)
    model = build(structure).eval()
    spec = PruneSpec.model_validate({target: 0.4, "round_to": round_to})
    pruned, found = prune_in_steps(
        model, structure, spec, size, compute_gradients=lambda model: None, recover=lambda model, structure: None
    )
    if target == "macs":
        share = macs(found, size) / macs(structure, size)
    else:
        share = sum(p.numel() for p in pruned.parameters()) / sum(p.numel() for p in model.parameters())
    assert 0.9 * 0.4 <= share <= 0.4
    kept = [module.out_channels for module in pruned.modules() if isinstance(module, torch.nn.Conv2d)]
    assert all(channels % round_to == 0 for channels in kept)
    assert pruned(torch.zeros(2, 3, size, size)).shape == (2, 5)


def test_pruned_student_is_distilled_and_exported(digits_idx, teacher_file, tmp_path):
    emitted: list[events.Event] = []
    spec = factories.spec(
        digits_idx,
        teacher_file,
        student={"prune": PRUNE},
        exports=["timm", "onnx_int8"],
        quantize={"mode": "post_training"},
        training={"epochs": 12, "augmentation": "none"},
    )
    result = distill(spec, tmp_path, on_event=emitted.append)
    assert result.student_test.top1 > 0.7
    assert result.student_parameters < 0.6 * result.teacher_parameters
    student = load_student(student_of(tmp_path))
    assert sum(parameter.numel() for parameter in student.model.parameters()) == result.student_parameters
    assert student.structure.pruning
    (resolved,) = [event for event in emitted if isinstance(event, events.Resolved)]
    assert resolved.student_structure == student.structure
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert ModelStructure.model_validate(report["student"]["structure"]) == student.structure
    assert report["student"]["macs"] <= 0.4 * report["teacher"]["macs"]
    reasons = {exported["format"]: exported["reason"] for exported in report["exports"]}
    assert reasons == {"timm": reasons["timm"], "onnx_int8": None}
    assert "pruned" in reasons["timm"]


def test_student_starts_with_the_weights_of_the_channels_that_remain(digits_idx, teacher_file, tmp_path):
    """With a negligible learning rate, the trained weights are the initial ones."""
    optimizer = {"name": "sgd", "learning_rate": 1e-9, "weight_decay": 0}
    distill(
        factories.spec(
            digits_idx, teacher_file, student={"prune": PRUNE}, training={"epochs": 1, "optimizer": optimizer}
        ),
        tmp_path,
    )
    student, teacher = load_student(student_of(tmp_path)), load_student(teacher_file)
    prune_by_history(teacher.model, student.structure)
    for name, parameter in student.model.named_parameters():
        torch.testing.assert_close(parameter, teacher.model.get_parameter(name), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    "prune", [PRUNE, {"parameters": 0.5, "round_to": 2, "importance": "taylor", "steps": 2, "recovery_steps": 5}]
)
def test_run_resumes_bit_identically_from_its_checkpoint_alone(prune, digits_idx, teacher_file, tmp_path):
    spec = factories.spec(digits_idx, teacher_file, student={"prune": prune}, training={"epochs": 3})
    distill(spec, tmp_path / "uninterrupted")
    steps = iter(range(12))
    with pytest.raises(Interrupted) as interrupted:
        distill(spec, tmp_path / "stopped", should_stop=lambda: next(steps) == 11)
    assert interrupted.value.step > 0
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "stopped/checkpoints").rename(tmp_path / "elsewhere/checkpoints")
    resolved: list[events.Resolved] = []
    distill(
        spec,
        tmp_path / "elsewhere",
        on_event=lambda event: resolved.append(event) if isinstance(event, events.Resolved) else None,
    )
    assert resolved[0].resumed_from_step == interrupted.value.step
    assert student_of(tmp_path / "elsewhere").read_bytes() == student_of(tmp_path / "uninterrupted").read_bytes()


def test_stop_during_recovery_starts_over(digits_idx, teacher_file, tmp_path):
    prune = {**PRUNE, "steps": 2, "recovery_steps": 5}
    spec = factories.spec(digits_idx, teacher_file, student={"prune": prune})
    with pytest.raises(Interrupted) as interrupted:
        distill(spec, tmp_path, should_stop=lambda: True)
    assert interrupted.value.step == 0
    distill(spec, tmp_path)


def test_narrow_networks_train_on_larger_color_images(tmp_path: Path) -> None:
    """oneDNN corrupts the heap in gradients of their strided 1x1 convolutions, which ends the process of the test: in
    Taylor importance, recovery steps, training and quantization-aware training.
    """
    data = factories.digits_folder(tmp_path / "images", each=30, size=64)
    (tmp_path / "teacher.pt").write_bytes(checkpoint("mini/resnet8_025", 3))
    teacher = {
        "checkpoint": (tmp_path / "teacher.pt").as_uri(),
        "architecture": "mini/resnet8_025",
        "image_size": 64,
        "allow_chance": True,
    }
    steps = {"importance": "taylor", "steps": 2, "recovery_steps": 20}
    result = distill(
        factories.spec(
            data,
            teacher,
            student={"prune": {"parameters": 0.5, "round_to": 2, **steps}},
            training={"precision": "float32"},
            exports=["onnx_int8"],
            quantize={"mode": "aware", "epochs": 1},
        ),
        tmp_path / "run",
    )
    assert result.student_validation.images > 0


@pytest.mark.parametrize(
    "student",
    [
        {"prune": {"macs": 0.5}},
        {"architecture": "vit_tiny_patch16_224", "initialize": "teacher"},
    ],
)
def test_student_of_a_vision_transformer_has_the_image_size_of_the_teachers_spec(
    student: dict[str, Any], tmp_path: Path
) -> None:
    # A state dict does not say for which images it was trained.
    model = create_model("vit_tiny_patch16_224", num_classes=3, image_size=32)
    torch.save(model.state_dict(), tmp_path / "teacher.pt")
    teacher = {
        "checkpoint": (tmp_path / "teacher.pt").as_uri(),
        "architecture": "vit_tiny_patch16_224",
        "image_size": 32,
        "allow_chance": True,
    }
    data = factories.digits_folder(tmp_path / "images", each=10, size=32)
    distill(factories.spec(data, teacher, student=student, training={"epochs": 1}), tmp_path / "run")
    assert load_student(student_of(tmp_path / "run")).preprocess.image_size == 32


def test_pruned_student_prunes_further_as_a_teacher(digits_idx, teacher_file, tmp_path):
    distill(factories.spec(digits_idx, teacher_file, student={"prune": PRUNE}), tmp_path / "first")
    first = student_of(tmp_path / "first")
    half = {"parameters": 0.5, "round_to": 1}
    distill(factories.spec(digits_idx, first, student={"prune": half}), tmp_path / "second")
    student = load_student(student_of(tmp_path / "second"))
    assert len(student.structure.pruning) > len(load_student(first).structure.pruning)
    parameters = [
        sum(tensor.numel() for tensor in read_weights(path).tensors.values())
        for path in (first, student_of(tmp_path / "second"))
    ]
    assert parameters[1] < 0.6 * parameters[0]


def test_classes_are_those_of_the_dataset(teacher_file, tmp_path):
    data = factories.digits_folder(tmp_path / "data", size=8, mode="L")
    teacher = {"checkpoint": teacher_file.as_uri(), "class_map": [2, 0, 1], "allow_chance": True}
    distill(factories.spec(data, teacher=teacher, student={"prune": PRUNE}), tmp_path / "run")
    student = load_student(student_of(tmp_path / "run"))
    assert student.structure.num_classes == 3
    assert student.model(torch.zeros(1, 1, 8, 8)).shape == (1, 3)


def test_unreachable_target_is_refused(digits_idx, teacher_file, tmp_path):
    spec = factories.spec(digits_idx, teacher_file, student={"prune": {"macs": 0.001}})
    with pytest.raises(BadSpec, match=r"the smallest mini/resnet8_050 in multiples of 8 channels has \d") as raised:
        distill(spec, tmp_path)
    assert "student.prune" in raised.value.message


def test_normalization_with_other_channels_is_refused(digits_idx, teacher_file, tmp_path):
    student = {"prune": PRUNE, "normalization": {"mean": [0.5] * 3, "std": [0.5] * 3}}
    with pytest.raises(BadSpec, match=r"student\.normalization has 3 channels, but the student has 1 input channels"):
        distill(factories.spec(digits_idx, teacher_file, student=student), tmp_path)


def test_drop_path_of_a_family_without_it_is_refused(digits_idx, teacher_file, tmp_path):
    spec = factories.spec(digits_idx, teacher_file, student={"prune": PRUNE, "drop_path": 0.1})
    with pytest.raises(BadSpec, match=r"student\.drop_path: mini/resnet8_050 does not support stochastic depth"):
        distill(spec, tmp_path)


def test_family_that_cannot_be_pruned_is_refused_before_training(digits_idx, tmp_path):
    model = build(ModelStructure(architecture="cifar/ShuffleV2", num_classes=10))
    torch.save(model.state_dict(), tmp_path / "teacher.pt")
    teacher = {"checkpoint": (tmp_path / "teacher.pt").as_uri(), "architecture": "cifar/ShuffleV2"}
    spec = factories.spec(digits_idx, teacher=teacher, student={"prune": PRUNE})
    emitted: list[events.Event] = []
    with pytest.raises(BadSpec, match=r"student\.prune: cifar/ShuffleV2 cannot be pruned"):
        distill(spec, tmp_path / "run", on_event=emitted.append)
    assert "training" not in [event.phase for event in emitted if isinstance(event, events.PhaseChanged)]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"student": {"prune": {}}}, "exactly one of `macs`, `parameters` and `latency_ms`"),
        ({"student": {"prune": {"macs": 0.5, "parameters": 0.5}}}, "exactly one of"),
        ({"student": {"prune": {"macs": 0}}}, "greater than 0"),
        ({"student": {"prune": {"macs": 1}}}, "less than 1"),
        ({"student": {"prune": {"macs": 0.5}, "architecture": "resnet18"}}, "`architecture` or `prune`, not both"),
        ({"student": {"prune": {"macs": 0.5}, "checkpoint": "file:///a"}}, "`checkpoint` or `prune`, not both"),
        ({"student": {}}, "set `architecture`, `checkpoint` or `prune`"),
        ({"teacher": None, "method": "ce"}, "student.prune requires `teacher`"),
        (
            {"teacher": None, "teachers": ["file:///a", "file:///b"]},
            "student.prune requires one `teacher`, not several",
        ),
    ],
)
def test_contradictory_specs_are_refused(fields, message):
    spec = {"teacher": "file:///a", "student": {"prune": {"macs": 0.5}}, "dataset": "file:///d", **fields}
    with pytest.raises(ValidationError, match=message):
        DistillSpec.model_validate(spec)


def test_measured_families():
    assert prunable.is_prunable("cifar/resnet56")
    assert prunable.is_prunable("resnet50.a1_in1k")
    assert prunable.is_prunable("deit_tiny_patch16_224")
    assert not prunable.is_prunable("cifar/ShuffleV2")
    assert "Choose" in prunable.obstacle("fastvit_t8")
