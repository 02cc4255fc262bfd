"""Loading teachers: fields read from the file, and errors for what does not fit."""

import pytest
import torch

from tests.support.models import create_model
from ttm_core.errors import ArchitectureMismatch, BadDataset, BadSpec
from ttm_core.models.teachers.classes import match_classes
from ttm_core.models.teachers.load import load_teacher
from ttm_core.spec.job import TeacherSpec

TEN = [str(number) for number in range(10)]


def saved(path, architecture="mini/resnet8_025", num_classes=10, in_chans=1, wrap=lambda state: state):
    torch.manual_seed(0)
    model = create_model(architecture, num_classes=num_classes, in_chans=in_chans).eval()
    torch.save(wrap(model.state_dict()), path)
    return model


def load(path, names=TEN, size=28, **fields):
    return load_teacher(TeacherSpec(checkpoint="file:///x", **fields), path, image_size=size, class_names=names)


@pytest.mark.parametrize(
    ("architecture", "in_chans", "size"),
    [
        ("mini/resnet8_025", 1, 28),
        ("cifar/resnet8x4", 3, 32),
        ("cifar/vgg8", 3, 32),
        ("cifar/MobileNetV2", 3, 32),
        ("resnet18", 3, 64),
        ("tresnet_m", 3, 64),  # its first convolution has 16 channels for each one of the image
        ("tresnet_m", 1, 64),
    ],
)
def test_classes_and_channels_are_read_from_a_checkpoint_without_metadata(tmp_path, architecture, in_chans, size):
    model = saved(
        tmp_path / "x.pth",
        architecture,
        10,
        in_chans,
        lambda state: {"state_dict": {f"module.{k}": v for k, v in state.items()}},
    )
    teacher = load(tmp_path / "x.pth", size=size, architecture=architecture)
    assert (teacher.num_classes, teacher.preprocess.channels, teacher.preprocess.image_size) == (10, in_chans, size)
    x = torch.randn(2, in_chans, size, size)
    torch.testing.assert_close(teacher.model(x), model(x), rtol=1e-4, atol=1e-4)
    assert not any(parameter.requires_grad for parameter in teacher.model.parameters())
    assert not teacher.model.training


@pytest.mark.parametrize("channels", [2, 4, 12])
def test_other_numbers_of_channels_are_refused(tmp_path, channels):
    saved(tmp_path / "x.pth", wrap=lambda state: state | {"conv1.weight": torch.ones(16, channels, 3, 3)})
    with pytest.raises(ArchitectureMismatch, match=rf"images with {channels} channels\. Supported are 1 .* and 3"):
        load(tmp_path / "x.pth", architecture="mini/resnet8_025")


def test_vision_transformer_keeps_its_input_size(tmp_path):
    saved(tmp_path / "x.pth", "vit_tiny_patch16_224", 10, 3)
    assert load(tmp_path / "x.pth", size=64, architecture="vit_tiny_patch16_224").preprocess.image_size == 224


def test_missing_architecture_is_refused(tmp_path):
    saved(tmp_path / "x.pth")
    with pytest.raises(BadSpec, match=r"teacher\.architecture is required"):
        load(tmp_path / "x.pth")


def test_mismatch_lists_tensors_by_module_without_counters(tmp_path):
    saved(tmp_path / "x.pth", "cifar/resnet20", 10, 3)
    with pytest.raises(
        ArchitectureMismatch, match=r"not a cifar/resnet32: 60 tensors missing: layer1\.3\.conv1 \(weight\), "
    ):
        load(tmp_path / "x.pth", architecture="cifar/resnet32")
    with pytest.raises(ArchitectureMismatch, match="unexpected"):
        load(tmp_path / "x.pth", architecture="cifar/resnet14")
    with pytest.raises(ArchitectureMismatch, match="of another shape") as raised:
        load(tmp_path / "x.pth", architecture="mini/resnet8_025")
    assert "num_batches_tracked" not in str(raised.value)
    assert len(str(raised.value)) < 2000


def test_state_dict_without_batch_counters_is_accepted(tmp_path):
    """As saved by PyTorch before 0.4.1."""
    model = saved(
        tmp_path / "x.pth", wrap=lambda state: {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    )
    teacher = load(tmp_path / "x.pth", architecture="mini/resnet8_025")
    x = torch.randn(2, 1, 28, 28)
    torch.testing.assert_close(teacher.model(x), model(x), rtol=1e-4, atol=1e-4)
    without_mean = {k: v for k, v in model.state_dict().items() if k != "bn1.running_mean"}
    torch.save(without_mean, tmp_path / "y.pth")
    with pytest.raises(ArchitectureMismatch, match=r"1 tensors missing: bn1 \(running_mean\)"):
        load(tmp_path / "y.pth", architecture="mini/resnet8_025")


def test_wrong_num_classes_is_a_spec_error(tmp_path):
    saved(tmp_path / "x.pth")
    with pytest.raises(BadSpec, match=r"teacher\.num_classes is 7, but the checkpoint has 10 classes") as raised:
        load(tmp_path / "x.pth", architecture="mini/resnet8_025", num_classes=7)
    assert raised.value.code == "bad_spec"


def test_checkpoint_without_classifier_is_refused(tmp_path):
    saved(tmp_path / "x.pth", wrap=lambda state: {k: v for k, v in state.items() if not k.startswith("fc.")})
    with pytest.raises(ArchitectureMismatch, match=r"no classifier fc\.weight"):
        load(tmp_path / "x.pth", architecture="mini/resnet8_025")


def test_different_number_of_classes_is_refused(tmp_path):
    saved(tmp_path / "x.pth", num_classes=12)
    with pytest.raises(BadDataset, match="has 12 classes and the dataset has 10"):
        load(tmp_path / "x.pth", architecture="mini/resnet8_025")


def test_a_binary_classifier_with_one_output_needs_two(tmp_path):
    binary = {}

    def with_one_output(state):
        binary.update(state | {name: state[name][:1] for name in ("fc.weight", "fc.bias")})
        return binary

    saved(tmp_path / "one.pth", num_classes=2, wrap=with_one_output)
    with pytest.raises(BadDataset, match=r"one output, as binary classifiers with a sigmoid have\. Give it two"):
        load(tmp_path / "one.pth", names=["cat", "dog"], architecture="mini/resnet8_025")
    zeros = {name: torch.cat([torch.zeros_like(binary[name]), binary[name]]) for name in ("fc.weight", "fc.bias")}
    torch.save(binary | zeros, tmp_path / "two.pth")
    teacher = load(tmp_path / "two.pth", names=["cat", "dog"], architecture="mini/resnet8_025")
    logits = teacher.model(torch.randn(2, 1, 28, 28))
    torch.testing.assert_close(logits.softmax(1)[:, 1], logits[:, 1].sigmoid())


def test_class_map_selects_and_orders_logits(tmp_path):
    model = saved(tmp_path / "x.pth", num_classes=12)
    teacher = load(tmp_path / "x.pth", names=["a", "b", "c"], architecture="mini/resnet8_025", class_map=[11, 0, 5])
    x = torch.randn(2, 1, 28, 28)
    torch.testing.assert_close(teacher.model(x), model(x)[:, [11, 0, 5]], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("class_map", [[], [0, 1], [0, 1, 12], [0, 1, 1], [0, 1, 2, 3]])
def test_wrong_class_map_is_a_spec_error(class_map):
    with pytest.raises(BadSpec, match=r"teacher\.class_map must have 3 different indices below 12"):
        match_classes(12, None, ["a", "b", "c"], class_map)


@pytest.mark.parametrize(
    ("teacher_names", "names", "expected"),
    [
        (["a", "b"], ["a", "b"], None),
        (["b", "a"], ["a", "b"], [1, 0]),
        (["x", "b", "a"], ["a", "b"], [2, 1]),
        (["0", "1"], ["cat", "dog"], None),
        (["cat", "dog"], ["0", "1"], None),
        (None, ["cat", "dog"], None),
    ],
)
def test_classes_are_matched_by_name(teacher_names, names, expected):
    assert match_classes(len(teacher_names or names), teacher_names, names, None) == expected


def test_classes_missing_in_the_teacher_are_refused():
    with pytest.raises(BadDataset, match="a class 'cow', which the teacher does not have"):
        match_classes(2, ["cat", "dog"], ["cat", "cow"], None)
