"""Foreign checkpoints: recognized by names and shapes, and loaded with the logits of the model that wrote them."""

import json
import struct
from collections.abc import Callable
from itertools import groupby

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional

from tests.support.models import create_model
from ttm_core.checkpoints.inspect import find_candidates
from ttm_core.checkpoints.schema import InspectionRequest
from ttm_core.checkpoints.signatures import read_signatures
from ttm_core.errors import ArchitectureMismatch, BadSpec
from ttm_core.models import TORCHVISION
from ttm_core.models.teachers.adapt import signature_of
from ttm_core.models.teachers.load import load_teacher
from ttm_core.reader.checkpoints.inspection import inspect
from ttm_core.spec import catalogue
from ttm_core.spec.job import TeacherSpec

# Models of torchvision that only `make thorough` loads.
OTHERS = (
    *(
        "alexnet",
        "convnext_tiny",
        "densenet121",
        "efficientnet_b0",
        "googlenet",
        "inception_v3",
        "maxvit_t",
        "mnasnet0_5",
    ),
    *("regnet_x_400mf", "shufflenet_v2_x0_5", "swin_t", "vgg11_bn", "vit_b_32"),
)


class OptionA(nn.Module):
    """A CIFAR ResNet as widely published: shortcuts subsample and pad channels, and the classifier is `linear`."""

    def __init__(self, blocks: int, pad: Callable[[int], tuple[int, int]]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        channels = 16
        for index, width in enumerate((16, 32, 64), start=1):
            stage = nn.Sequential()
            for block in range(blocks):
                stage.append(_Block(channels, width, 2 if block == 0 and index > 1 else 1, pad))
                channels = width
            setattr(self, f"layer{index}", stage)
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))


class _Block(nn.Module):
    def __init__(self, channels: int, width: int, stride: int, pad: Callable[[int], tuple[int, int]]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.stride, self.padding = stride, pad(width - channels)

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        shortcut = functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, *self.padding))
        return functional.relu(out + shortcut)


def trained(model: nn.Module, size: int) -> nn.Module:
    """The model with statistics of batch norms that differ from their initial values, in evaluation mode."""
    torch.manual_seed(1)
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.1)
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    return model.eval()


def load(path, size, classes=10, **fields):
    names = [str(number) for number in range(classes)]
    spec = TeacherSpec.model_validate({"checkpoint": "file:///x", **fields})
    return load_teacher(spec, path, image_size=size, class_names=names)


def assert_same_logits(teacher, model, size):
    x = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        torch.testing.assert_close(teacher.model(x), model(x), rtol=1e-3, atol=1e-4)


def test_signatures_describe_the_models_of_the_catalogue():
    signatures = {signature.architecture: signature for signature in read_signatures()}
    assert list(signatures) == [row.name for row in catalogue.all()]
    for name in ("cifar/resnet8", "resnet18", "vit_tiny_patch16_224", "torchvision/googlenet"):
        model = create_model(name, num_classes=catalogue.find(name).num_classes)
        assert signatures[name] == signature_of(model, name)


@pytest.mark.parametrize("name", ["levit_128s", "repvit_m0_9", "vit_tiny_patch16_dinov3_qkvb"])
def test_any_number_of_classes_fits_two_classifiers_and_a_backbone_published_without_one(name):
    with torch.device("meta"):
        shapes = {key: tuple(tensor.shape) for key, tensor in create_model(name, num_classes=7).state_dict().items()}
    best = find_candidates(shapes)[0]
    assert (best.architecture, best.loads, best.num_classes) == (name, True, 7)


def test_a_file_for_another_image_size_names_the_field(tmp_path):
    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", num_classes=10, img_size=64).eval()
    torch.save(model.state_dict(), tmp_path / "x.pth")
    with pytest.raises(ArchitectureMismatch, match=r"do not have 224 pixels: set teacher\.image_size"):
        load(tmp_path / "x.pth", 64, architecture="vit_tiny_patch16_224")
    assert_same_logits(load(tmp_path / "x.pth", 64, architecture="vit_tiny_patch16_224", image_size=64), model, 64)


@pytest.mark.parametrize(("padding", "pad"), [("centered", lambda n: (n // 2, n // 2)), ("appended", lambda n: (0, n))])
def test_shortcuts_without_parameters_become_fixed_convolutions(tmp_path, padding, pad):
    torch.manual_seed(0)
    model = trained(OptionA(3, pad), 32)
    path = tmp_path / "resnet20.th"
    torch.save({"state_dict": {f"module.{k}": v for k, v in model.state_dict().items()}, "best_prec1": 92.1}, path)

    best = inspect(path, InspectionRequest()).candidates[0]
    assert (best.architecture, best.loads, best.num_classes, best.key_map) == ("cifar/resnet20", True, 10, None)
    assert best.conversions == ["known_renames", "identity_shortcuts"]
    assert_same_logits(load(path, 32, architecture="cifar/resnet20", identity_shortcuts=padding), model, 32)


@pytest.mark.parametrize(
    "name",
    [
        # A linear classifier, one of several layers, and a convolution.
        *("resnet18", "mobilenet_v3_small", "squeezenet1_1"),
        *(pytest.param(name, marks=pytest.mark.thorough) for name in OTHERS),
    ],
)
def test_files_of_torchvision_load_without_a_key_map(tmp_path, name):
    torch.manual_seed(0)
    size = catalogue.find(f"torchvision/{name}").input_size[-1] if name.startswith(("vit", "maxvit")) else 96
    model = trained(torchvision.models.get_model(name, weights=None, num_classes=10), size)
    path = tmp_path / f"{name}.pth"
    torch.save(model.state_dict(), path)

    loading = [candidate.architecture for candidate in inspect(path, InspectionRequest()).candidates if candidate.loads]
    assert f"torchvision/{name}" in loading
    assert_same_logits(load(path, size, architecture=f"torchvision/{name}"), model, size)


def test_densenet_with_the_names_of_its_first_publication(tmp_path):
    torch.manual_seed(0)
    model = trained(torchvision.models.densenet121(num_classes=10), 64)
    old = {
        key.replace("norm1.", "norm.1.")
        .replace("norm2.", "norm.2.")
        .replace("conv1.", "conv.1.")
        .replace("conv2.", "conv.2.")
        if "denselayer" in key
        else key: value
        for key, value in model.state_dict().items()
    }
    torch.save(old, tmp_path / "x.pth")
    assert_same_logits(load(tmp_path / "x.pth", 64, architecture="torchvision/densenet121"), model, 64)


def foreign_resnet18(path):
    """resnet18 under the names of another code base, which registers the shortcut first in each block."""
    torch.manual_seed(0)
    model = trained(create_model("resnet18", num_classes=10), 64)
    state = model.state_dict()
    renamed = {}
    for _, block in groupby(state, lambda key: key.split(".")[:2]):
        for key in sorted(block, key=lambda key: "downsample" not in key):
            new = key
            for old, other in (
                ("layer", "stages."),
                ("downsample.", "proj."),
                ("conv", "c"),
                ("bn", "n"),
                ("fc", "cls"),
            ):
                new = new.replace(old, other)
            renamed[f"encoder.{new}" if key[:2] != "fc" else new] = state[key]
    torch.save(renamed, path)
    return model


def test_a_key_map_is_proposed_and_applied(tmp_path):
    path = tmp_path / "x.pth"
    model = foreign_resnet18(path)
    with pytest.raises(ArchitectureMismatch):
        load(path, 64, architecture="resnet18")
    best = next(
        candidate for candidate in inspect(path, InspectionRequest()).candidates if candidate.architecture == "resnet18"
    )
    assert best.loads
    assert best.key_map is not None
    assert best.key_map["cls."] == "fc."
    assert len(best.key_map) < 70, "modules are mapped, not tensors"
    assert inspect(path, InspectionRequest(architecture="resnet18", key_map=best.key_map)).candidates[0].loads
    assert_same_logits(load(path, 64, architecture="resnet18", key_map=best.key_map), model, 64)


@pytest.mark.parametrize("classifier", ["fc", "linear"])
def test_a_prefix_of_all_names_is_removed(tmp_path, classifier):
    model = create_model("mini/resnet8_025", num_classes=10).eval()
    state = {f"tower.vision.{name}".replace(".fc.", f".{classifier}."): t for name, t in model.state_dict().items()}
    torch.save(state, tmp_path / "x.pth")
    assert_same_logits(load(tmp_path / "x.pth", 32, architecture="mini/resnet8_025"), model, 32)
    (best,) = inspect(tmp_path / "x.pth", InspectionRequest(architecture="mini/resnet8_025")).candidates
    assert (best.loads, best.key_map, best.conversions) == (True, None, ["known_renames"])


@pytest.mark.parametrize(
    ("key_map", "message"),
    [
        ({"nothing.": "fc."}, "no tensor of the checkpoint starts with 'nothing.'"),
        ({"fc.weight": "fc.bias"}, "gives two tensors the name 'fc.bias'"),
        ({"fc.": "conv1.fc."}, "has no classifier"),
    ],
)
def test_a_key_map_that_does_not_fit_is_refused(tmp_path, key_map, message):
    torch.save(create_model("resnet18", num_classes=10).state_dict(), tmp_path / "x.pth")
    with pytest.raises((BadSpec, ArchitectureMismatch), match=message):
        load(tmp_path / "x.pth", 64, architecture="resnet18", key_map=key_map)


def test_errors_name_the_architecture_that_fits(tmp_path):
    torch.save(create_model("cifar/resnet20", num_classes=10).state_dict(), tmp_path / "x.pth")
    with pytest.raises(BadSpec, match=r"architecture is required.* fit cifar/resnet20"):
        load(tmp_path / "x.pth", 32)
    with pytest.raises(ArchitectureMismatch, match=r"Its tensors fit cifar/resnet20\."):
        load(tmp_path / "x.pth", 32, architecture="cifar/resnet56")
    with pytest.raises(
        ArchitectureMismatch, match=r"no classifier head\.fc\.weight.* Its tensors fit cifar/resnet20\."
    ):
        load(tmp_path / "x.pth", 32, architecture="convnext_atto")


def test_a_partial_match_is_described(tmp_path):
    state = create_model("resnet18", num_classes=10).state_dict()
    del state["layer4.1.conv2.weight"]
    state["layer1.0.conv1.weight"] = torch.zeros(64, 64, 5, 5)
    state["extra.weight"] = torch.zeros(3)
    torch.save(state, tmp_path / "x.pth")
    best = inspect(tmp_path / "x.pth", InspectionRequest(architecture="resnet18")).candidates[0]
    assert not best.loads
    assert best.missing == ["layer4.1.conv2.weight"]
    assert best.mismatched == ["layer1.0.conv1.weight"]
    assert best.unexpected == ["extra.weight"]
    assert 0.9 < best.score < 1


@pytest.mark.parametrize(
    ("content", "kind", "problem"),
    [
        (b"PK\x03\x04" + b"\0" * 60, "archive", "archive"),
        (b"\x1f\x8b" + b"\0" * 60, "archive", "compressed with gzip"),
        (b"hello, this is text and no model", "unknown", "not a checkpoint"),
        (b"\x80\x02}q\0.", "torch", "cannot be read"),
        (b"\x08\x08\x12\x07pytorch", "onnx", "ONNX file"),
        (struct.pack("<Q", 20) + b'{"a":1' + b" " * 14, "safetensors", "not valid JSON"),
        (b"", "unknown", "not a checkpoint"),
    ],
)
def test_files_that_are_no_checkpoint_are_described(tmp_path, content, kind, problem):
    (tmp_path / "x").write_bytes(content)
    found = inspect(tmp_path / "x", InspectionRequest())
    assert found.kind == kind
    assert (found.problem is None) if problem is None else (problem in (found.problem or ""))
    assert found.candidates == []


def test_many_unknown_tensors_are_compared_in_bounded_time(tmp_path):
    tensors = {f"layer{index}.weight": torch.zeros(1) for index in range(20_000)}
    safetensors.torch.save_file(tensors, tmp_path / "x.safetensors")
    found = inspect(tmp_path / "x.safetensors", InspectionRequest())
    assert (found.tensors, found.candidates) == (20_000, [])


def test_a_student_file_names_its_architecture(tmp_path):
    state = create_model("mini/resnet8_025", num_classes=10).state_dict()
    structure = {"architecture": "mini/resnet8_025", "num_classes": 10}
    metadata = {"ttm": json.dumps({"format": 2, "structure": structure})}
    safetensors.torch.save_file(state, tmp_path / "x.safetensors", metadata)
    found = inspect(tmp_path / "x.safetensors", InspectionRequest())
    assert found.architecture == "mini/resnet8_025"
    assert found.candidates[0].architecture == "mini/resnet8_025"
    assert found.parameters == sum(int(np.prod(value.shape)) for value in state.values())


def test_every_torchvision_model_is_in_the_catalogue():
    assert {f"torchvision/{name}" for name in TORCHVISION} <= {row.name for row in catalogue.all()}
