"""Students that start with a selection of their teacher's weights."""

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from tests.support.models import create_model
from tests.ttm_core import factories
from ttm_core.errors import BadSpec
from ttm_core.export import load_student
from ttm_core.models.students.inherit import inherit
from ttm_core.models.teachers.load import Teacher, load_teacher
from ttm_core.pipeline.distill import distill
from ttm_core.spec.job import DistillSpec, TeacherSpec
from ttm_core.training.trainer import Interrupted

CLASSES = ["ant", "bee", "cat"]


def random_model(name: str, size: int, classes: int = len(CLASSES)) -> nn.Module:
    """A model whose batch norms have the statistics of random images."""
    torch.manual_seed(0)
    model = create_model(name, num_classes=classes, image_size=size).train()
    with torch.no_grad():
        model(torch.randn(8, 3, size, size))
    return model.eval()


def teacher_of(tmp_path: Path, name: str, size: int, **fields: object) -> tuple[nn.Module, Teacher]:
    model = random_model(name, size)
    path = tmp_path / "teacher.pt"
    torch.save(model.state_dict(), path)
    spec = TeacherSpec.model_validate({"checkpoint": "file:///x", "architecture": name, **fields})
    names = CLASSES[: len(spec.class_map)] if spec.class_map else CLASSES
    return model, load_teacher(spec, path, image_size=size, class_names=names, keep_weights=True)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("cifar/resnet20", 32),
        ("cifar/MobileNetV2", 32),
        ("cifar/vgg8", 32),
        ("resnet18", 64),
        ("test_vit", 160),
        ("test_efficientnet", 160),
        ("test_convnext", 160),
    ],
)
def test_student_equal_to_the_teacher_has_its_logits(name: str, size: int, tmp_path: Path) -> None:
    model, teacher = teacher_of(tmp_path, name, size)
    student = create_model(name, num_classes=len(CLASSES), image_size=size).eval()
    inherit(student, teacher, name)
    x = torch.randn(2, 3, size, size)
    assert torch.equal(student(x), model(x))


def test_blocks_are_chosen_evenly(tmp_path: Path) -> None:
    model, teacher = teacher_of(tmp_path, "cifar/resnet56", 32)
    for name, chosen in (("cifar/resnet20", (0, 3, 6)), ("cifar/resnet8", (0,))):
        student = create_model(name, num_classes=len(CLASSES))
        inherit(student, teacher, name)
        for stage in ("layer1", "layer2", "layer3"):
            for block, source in enumerate(chosen):
                expected = model.get_submodule(f"{stage}.{source}").state_dict()
                found = student.get_submodule(f"{stage}.{block}").state_dict()
                assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_channels_are_chosen_evenly(tmp_path: Path) -> None:
    model, teacher = teacher_of(tmp_path, "cifar/resnet32x4", 32)
    student = create_model("cifar/resnet8x4", num_classes=len(CLASSES))
    inherit(student, teacher, "cifar/resnet8x4")
    assert torch.equal(student.fc.weight, model.fc.weight)
    narrow = create_model("cifar/resnet20", num_classes=len(CLASSES))
    inherit(narrow, teacher, "cifar/resnet20")
    assert torch.equal(narrow.conv1.weight, model.conv1.weight[::2])
    assert torch.equal(narrow.layer2[0].conv1.weight, model.layer2[0].conv1.weight[::4, ::4])
    assert torch.equal(narrow.layer3[2].bn2.running_var, model.layer3[3].bn2.running_var[::4])
    assert torch.equal(narrow.fc.weight, model.fc.weight[:, ::4])


@pytest.mark.parametrize(
    ("student", "teacher", "size"),
    [
        ("vit_tiny_patch16_224", "vit_small_patch16_224", 224),
        ("mobilenetv3_small_050", "mobilenetv3_small_100", 64),
        ("resnet18", "resnet34", 64),
        ("resnet50", "resnet101", 64),
        ("convnext_atto", "convnext_femto", 64),
    ],
)
def test_smaller_models_of_a_family_inherit(student: str, teacher: str, size: int, tmp_path: Path) -> None:
    _, loaded = teacher_of(tmp_path, teacher, size)
    model = create_model(student, num_classes=len(CLASSES), image_size=size).eval()
    inherit(model, loaded, student)
    assert model(torch.zeros(1, 3, size, size)).isfinite().all()


def test_classes_are_those_of_the_dataset(tmp_path: Path) -> None:
    model, teacher = teacher_of(tmp_path, "cifar/resnet20", 32, class_map=[2, 0])
    student = create_model("cifar/resnet8", num_classes=2)
    inherit(student, teacher, "cifar/resnet8")
    assert torch.equal(student.fc.weight, model.fc.weight[[2, 0]])


@pytest.mark.parametrize(
    ("student", "teacher", "reason"),
    [
        ("resnet18", "resnet50", "consists of other layers (BasicBlock and Bottleneck)"),
        ("cifar/resnet20", "cifar/resnet8", "has 3 blocks, more than the teacher's 1"),
        ("mini/resnet8_100", "mini/resnet8_050", "has the shape"),
        ("mobilenetv3_small_050", "resnet18", "it is a MobileNetV3, not a ResNet"),
        ("resnet18", "cifar/resnet20", "it is a timm.models.resnet.ResNet, not a ttm_core.models.cifar.resnet.ResNet"),
        ("cifar/vgg8", "cifar/vgg13", "only one of them has the layer"),
    ],
)
def test_models_without_correspondence_are_refused(student: str, teacher: str, reason: str, tmp_path: Path) -> None:
    _, loaded = teacher_of(tmp_path, teacher, 32)
    with pytest.raises(BadSpec, match=r"student\.initialize: .* cannot take weights") as raised:
        inherit(create_model(student, num_classes=len(CLASSES)), loaded, student)
    assert reason in raised.value.message


def test_inherited_student_trains_and_resumes_bit_identically(digits_idx, teacher_file, tmp_path):
    student = {"architecture": "mini/resnet8_025", "initialize": "teacher"}
    spec = factories.spec(digits_idx, teacher_file, student=student, training={"epochs": 3})
    distill(spec, tmp_path / "uninterrupted")
    steps = iter(range(12))
    with pytest.raises(Interrupted):
        distill(spec, tmp_path / "stopped", should_stop=lambda: next(steps) == 11)
    distill(spec, tmp_path / "stopped")
    files = [tmp_path / folder / "out/student.safetensors" for folder in ("uninterrupted", "stopped")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert load_student(files[0]).structure.pruning == []


def test_student_of_the_teachers_architecture_starts_at_its_accuracy(digits_idx, teacher_file, tmp_path):
    optimizer = {"name": "sgd", "learning_rate": 1e-9, "weight_decay": 0}
    student = {"architecture": "mini/resnet8_050", "initialize": "teacher", "freeze": ["conv1.*"]}
    training = {"epochs": 1, "optimizer": optimizer, "augmentation": "none"}
    result = distill(factories.spec(digits_idx, teacher_file, student=student, training=training), tmp_path)
    assert result.student_test.top1 == pytest.approx(result.teacher_test.top1, abs=0.02)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"student": {"initialize": "teacher"}}, "set `architecture`, `checkpoint` or `prune`"),
        ({"student": {"initialize": "random", "architecture": "resnet18"}}, "'teacher'"),
        (
            {"student": {"initialize": "teacher", "architecture": "resnet18", "checkpoint": "file:///a"}},
            "`initialize` or `checkpoint`, not both",
        ),
        ({"student": {"initialize": "teacher", "prune": {"macs": 0.5}}}, "`initialize` or `prune`, not both"),
        ({"teacher": None, "method": "ce"}, "student.initialize requires `teacher`"),
        ({"teacher": None, "teachers": ["file:///a", "file:///b"]}, "student.initialize requires one `teacher`"),
    ],
)
def test_contradictory_specs_are_refused(fields, message):
    student = {"architecture": "resnet18", "initialize": "teacher"}
    spec = {"teacher": "file:///a", "student": student, "dataset": "file:///d", **fields}
    with pytest.raises(ValidationError, match=message):
        DistillSpec.model_validate(spec)
