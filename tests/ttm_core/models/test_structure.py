"""Models from their structures, and structures in student files, among them damaged and hostile ones."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.ttm_core import factories
from ttm_core.errors import BadCheckpoint
from ttm_core.export import load_student
from ttm_core.export.onnx import load_onnx
from ttm_core.export.student import save_student
from ttm_core.models import build
from ttm_core.models.macs import macs, macs_of
from ttm_core.models.pruning.cut import cut
from ttm_core.models.pruning.graph import example_input
from ttm_core.models.teachers.load import load_teacher
from ttm_core.models.weights import read_weights, write_safetensors
from ttm_core.spec.job import DistillSpec, Normalization, TeacherSpec
from ttm_core.spec.structure import MAX_PRUNED_CHANNELS, MAX_PRUNING_STEPS, ModelStructure

STORED = Path(__file__).parents[2] / "data" / "students"
NORMALIZATION = Normalization(mean=[0.5] * 3, std=[0.25] * 3)
CLASSES = ["ant", "bee", "cat"]
SIZES = {"mini/resnet8_100": 16, "test_vit": 32}


def pruned(name: str, size: int, ratio: float = 0.5) -> tuple[nn.Module, ModelStructure]:
    torch.manual_seed(0)
    structure = ModelStructure(architecture=name, num_classes=len(CLASSES), image_size=size)
    model = build(structure).eval()
    model, steps = cut(model, example_input(model, 3, size), ratio, taylor=False, round_to=4)
    return model, structure.model_copy(update={"pruning": steps})


def saved(path: Path, model: nn.Module, structure: ModelStructure) -> Path:
    spec = DistillSpec.model_validate({"student": structure.architecture, "dataset": "file:///data", "method": "ce"})
    save_student(
        path,
        model.state_dict(),
        structure=structure,
        spec=spec,
        normalization=NORMALIZATION,
        class_names=CLASSES,
        metrics={},
    )
    return path


def test_students_of_the_first_format_load() -> None:
    images, labels = factories.digits()
    for student in (load_student(STORED / "format-1.safetensors"), load_onnx(STORED / "format-1.onnx")):
        assert student.structure == ModelStructure(
            architecture="mini/resnet8_025", num_classes=10, in_chans=1, image_size=8
        )
        predicted = student.predict(torch.from_numpy(images[-200:])[:, None]).argmax(1)
        assert (predicted == torch.from_numpy(labels[-200:])).float().mean() == pytest.approx(0.935)


def test_stored_pruned_student_loads() -> None:
    """A new version of Torch-Pruning must find the same dependencies as the version that wrote the file."""
    images, labels = factories.digits()
    student = load_student(STORED / "format-2-pruned.safetensors")
    assert len(student.structure.pruning) == 6
    predicted = student.predict(torch.from_numpy(images[-200:])[:, None]).argmax(1)
    assert (predicted == torch.from_numpy(labels[-200:])).float().mean() == pytest.approx(0.94, abs=0.006)


def test_student_of_the_first_format_is_a_teacher() -> None:
    spec = TeacherSpec(checkpoint="file:///stored")
    teacher = load_teacher(spec, STORED / "format-1.safetensors", image_size=32, class_names=list("0123456789"))
    assert (teacher.architecture, teacher.preprocess.image_size) == ("mini/resnet8_025", 8)


@pytest.mark.parametrize("name", SIZES)
def test_structure_with_a_pruning_history_builds_the_pruned_model(name: str) -> None:
    size = SIZES[name]
    model, structure = pruned(name, size)
    whole = structure.model_copy(update={"pruning": []})
    assert macs(structure, size) < 0.5 * macs(whole, size)
    assert macs_of(model, structure, size) == macs(structure, size)
    again = build(ModelStructure.model_validate_json(structure.model_dump_json())).eval()
    again.load_state_dict(model.state_dict())
    x = torch.randn(2, 3, size, size)
    assert torch.equal(again(x), model(x))


@pytest.mark.parametrize("name", SIZES)
def test_pruned_student_loads_as_student_and_as_teacher(name: str, tmp_path: Path) -> None:
    size = SIZES[name]
    model, structure = pruned(name, size)
    path = saved(tmp_path / "student.safetensors", model, structure)
    x = torch.randn(2, 3, size, size)
    student = load_student(path)
    assert student.structure == structure
    assert torch.equal(student.model(x), model(x))
    teacher = load_teacher(TeacherSpec(checkpoint="file:///x"), path, image_size=64, class_names=CLASSES)
    assert teacher.structure == structure
    torch.testing.assert_close(teacher.model(x), model(x))


def changed(field: str, value: Any) -> Any:
    return lambda metadata: metadata["structure"].__setitem__(field, value)


def step(module: str = "layer1.0.conv1", output: bool = True, channels: Any = (0,)) -> Any:
    return changed("pruning", [{"module": module, "output": output, "channels": list(channels)}])


HOSTILE = {
    "unknown version": (lambda metadata: metadata.update(format=3), "version '3'"),
    "no version": (lambda metadata: metadata.pop("format"), "version 'None'"),
    "no structure": (lambda metadata: metadata.pop("structure"), "no valid model structure"),
    "structure of another type": (lambda metadata: metadata.update(structure=[1]), "no valid model structure"),
    "option that loads a file": (changed("options", {"checkpoint_path": 1.0}), "options.checkpoint_path"),
    "huge number of classes": (changed("num_classes", 10**12), "num_classes"),
    "huge image": (changed("image_size", 10**6), "image_size"),
    "unknown field": (changed("code", "import os"), "code"),
    "history of another type": (changed("pruning", {"a": 1}), "pruning"),
    "step without channels": (step(channels=()), "channels"),
    "negative channel": (step(channels=(-1,)), "channels"),
    "repeated channel": (step(channels=(1, 1)), "ascending"),
    "channels in another order": (step(channels=(2, 1)), "ascending"),
    "unknown layer": (step("layer9.0.conv1"), "'layer9.0.conv1' that the model does not have"),
    "attribute instead of a layer": (step("layer1.0.forward.__globals__"), "that the model does not have"),
    "layer without channels": (step("act1"), "the model does not have|beyond its 0"),
    "channel beyond the layer": (step(channels=(16,)), "beyond its 16"),
    "every channel": (step(channels=range(16)), "removes all channels"),
    "channels of the image": (step("conv1", output=False), "does not fit"),
    "classes": (step("fc"), "changes the classes"),
    "too many steps": (
        changed("pruning", [{"module": "conv1", "output": True, "channels": [0]}] * (MAX_PRUNING_STEPS + 1)),
        "pruning",
    ),
    "too many channels": (
        changed("pruning", [{"module": "conv1", "output": True, "channels": list(range(MAX_PRUNED_CHANNELS + 1))}]),
        "at most 1,048,576 channels",
    ),
}


@pytest.mark.parametrize("change", HOSTILE)
def test_damaged_structures_are_refused(change: str, tmp_path: Path) -> None:
    model, structure = pruned("mini/resnet8_100", 16)
    path = saved(tmp_path / "student.safetensors", model, structure)
    weights = read_weights(path)
    metadata = copy.deepcopy(weights.metadata)
    edit, message = HOSTILE[change]
    edit(metadata)
    write_safetensors(path, weights.tensors, metadata)
    for load in (load_student, teacher_of):
        with pytest.raises(BadCheckpoint, match=message) as raised:
            load(path)
        assert len(raised.value.message) < 600


def teacher_of(path: Path) -> object:
    return load_teacher(TeacherSpec(checkpoint="file:///x"), path, image_size=16, class_names=CLASSES)


def test_weights_of_another_structure_are_refused(tmp_path: Path) -> None:
    model, structure = pruned("mini/resnet8_100", 16)
    path = saved(tmp_path / "student.safetensors", model, structure.model_copy(update={"pruning": []}))
    with pytest.raises(Exception, match="of another shape"):
        load_student(path)


def test_history_is_small() -> None:
    _, structure = pruned("cifar/resnet56", 32)
    assert len(json.dumps(structure.model_dump())) < 10_000
