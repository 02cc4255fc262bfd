"""Teachers: what their files tell is found, and what does not fit is named."""

import pytest
import torch

from ttm_core.errors import ArchitectureMismatch, BadDataset, BadSpec
from ttm_core.models import create_model
from ttm_core.models.teachers.load import load_teacher, match_classes
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
    ],
)
def test_a_checkpoint_without_metadata_tells_its_classes_and_channels(tmp_path, architecture, in_chans, size):
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


def test_a_vision_transformer_keeps_its_own_size(tmp_path):
    saved(tmp_path / "x.pth", "vit_tiny_patch16_224", 10, 3)
    assert load(tmp_path / "x.pth", size=64, architecture="vit_tiny_patch16_224").preprocess.image_size == 224


def test_the_architecture_must_be_known(tmp_path):
    saved(tmp_path / "x.pth")
    with pytest.raises(BadSpec, match=r"give teacher\.architecture"):
        load(tmp_path / "x.pth")


def test_a_mismatch_names_the_keys(tmp_path):
    saved(tmp_path / "x.pth", "cifar/resnet20", 10, 3)
    with pytest.raises(ArchitectureMismatch, match=r"not a cifar/resnet32: 72 missing: layer1\.3\.conv1\.weight"):
        load(tmp_path / "x.pth", architecture="cifar/resnet32")
    with pytest.raises(ArchitectureMismatch, match="unexpected"):
        load(tmp_path / "x.pth", architecture="cifar/resnet14")
    with pytest.raises(ArchitectureMismatch, match="of another shape"):
        load(tmp_path / "x.pth", architecture="mini/resnet8_025")


def test_a_model_without_its_classifier_is_refused(tmp_path):
    saved(tmp_path / "x.pth", wrap=lambda state: {k: v for k, v in state.items() if not k.startswith("fc.")})
    with pytest.raises(ArchitectureMismatch, match=r"no classifier fc\.weight"):
        load(tmp_path / "x.pth", architecture="mini/resnet8_025")


def test_classes_that_differ_in_number_are_refused(tmp_path):
    saved(tmp_path / "x.pth", num_classes=12)
    with pytest.raises(BadDataset, match="knows 12 classes and the dataset has 10"):
        load(tmp_path / "x.pth", architecture="mini/resnet8_025")


def test_a_class_map_selects_and_orders_the_teachers_classes(tmp_path):
    model = saved(tmp_path / "x.pth", num_classes=12)
    teacher = load(tmp_path / "x.pth", names=["a", "b", "c"], architecture="mini/resnet8_025", class_map=[11, 0, 5])
    x = torch.randn(2, 1, 28, 28)
    torch.testing.assert_close(teacher.model(x), model(x)[:, [11, 0, 5]], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("given", [[0, 1], [0, 1, 12], [0, 1, 1], [0, 1, 2, 3]])
def test_a_class_map_must_fit(given):
    with pytest.raises(BadDataset, match="class_map needs 3 different indices below 12"):
        match_classes(12, None, ["a", "b", "c"], given)


@pytest.mark.parametrize(
    ("told", "names", "expected"),
    [
        (["a", "b"], ["a", "b"], None),
        (["b", "a"], ["a", "b"], [1, 0]),
        (["x", "b", "a"], ["a", "b"], [2, 1]),
        (["0", "1"], ["cat", "dog"], None),
        (["cat", "dog"], ["0", "1"], None),
        (None, ["cat", "dog"], None),
    ],
)
def test_classes_are_matched_by_name(told, names, expected):
    assert match_classes(len(told or names), told, names, None) == expected


def test_other_classes_are_refused():
    with pytest.raises(BadDataset, match="knows no 'cow'"):
        match_classes(2, ["cat", "dog"], ["cat", "cow"], None)
