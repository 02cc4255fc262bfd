"""Properties of every model of the project. Shapes are computed on the meta device."""

import pytest
import timm
import torch
from timm.data import resolve_data_config
from torch import nn

from tests.support.models import create_model
from ttm_core.models import CIFAR, MINI, timm_name
from ttm_core.models.cifar.classifier import Classifier
from ttm_core.models.cifar.resnet import ResNet
from ttm_core.models.cifar.wide_resnet import WideResNet

NAMES = [*(f"cifar/{name}" for name in CIFAR), *(f"mini/{name}" for name in MINI)]
ONE_A_FAMILY = ["resnet8", "wrn_16_1", "vgg8", "MobileNetV2", "ShuffleV1", "ShuffleV2", "ResNet50"]

# The other sizes of a family differ in their depth and width only.
_DEFAULT = {*(f"cifar/{name}" for name in (*ONE_A_FAMILY, "resnet20", "resnet8x4")), "mini/resnet8_025"}

every_model = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in _DEFAULT else pytest.mark.thorough) for name in NAMES]
)


def shaped(name: str, *, num_classes: int = 10, in_chans: int = 3) -> Classifier:
    with torch.device("meta"):
        model = create_model(name, num_classes=num_classes, in_chans=in_chans)
    assert isinstance(model, Classifier)
    return model


def images(side: int = 32, chans: int = 3, batch: int = 2) -> torch.Tensor:
    return torch.empty(batch, chans, side, side, device="meta")


@every_model
@pytest.mark.parametrize(("side", "chans"), [(28, 1), (64, 3)])
def test_any_image_size_and_channels(name: str, side: int, chans: int) -> None:
    assert shaped(name, in_chans=chans)(images(side, chans)).shape == (2, 10)


@every_model
def test_head_of_features_equals_logits(name: str) -> None:
    model = shaped(name)
    features = model.forward_features(images())
    assert features.shape[:2] == (2, model.num_features)
    assert model.forward_head(features, pre_logits=True).shape == (2, model.head_hidden_size)
    assert model.forward_head(features).shape == (2, model.num_classes)


@every_model
def test_feature_maps_match_feature_info(name: str) -> None:
    model = shaped(name)
    final, taps = model.forward_intermediates(images())
    assert final.shape[1] == model.num_features
    described = [(2, info["num_chs"], 32 // info["reduction"], 32 // info["reduction"]) for info in model.feature_info]
    assert [tap.shape for tap in taps] == described
    assert [
        tap.shape for tap in model.forward_intermediates(images(), indices=2, intermediates_only=True)
    ] == described[-2:]
    early = model.forward_intermediates(images(), indices=[0, 1], stop_early=True, intermediates_only=True)
    assert [tap.shape for tap in early] == described[:2]


@every_model
def test_timm_extracts_its_features(name: str) -> None:
    with torch.device("meta"):
        model = timm.create_model(timm_name(name), features_only=True, out_indices=(1, 3), in_chans=3)
    taps = model(images())
    assert [tap.shape[1] for tap in taps] == model.feature_info.channels()


@every_model
def test_every_parameter_receives_a_gradient(name: str) -> None:
    model = shaped(name)
    model(images()).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@every_model
def test_classifier_can_be_replaced(name: str) -> None:
    model = shaped(name)
    before = {key: value.shape for key, value in model.state_dict().items()}
    model.reset_classifier(7)
    assert model(images()).shape == (2, 7)
    assert set(model.state_dict()) == set(before)
    changed = [key for key, value in model.state_dict().items() if value.shape != before[key]]
    assert changed == [f"{model.classifier_name}.weight", f"{model.classifier_name}.bias"]
    model.reset_classifier(0)
    assert model(images()).shape == (2, model.num_features)


@every_model
def test_zero_classes_return_pooled_features(name: str) -> None:
    model = shaped(name, num_classes=0)
    assert model(images()).shape == (2, model.num_features)


@every_model
def test_timm_resolves_the_data_config(name: str) -> None:
    model = shaped(name)
    config = model.pretrained_cfg
    assert config is model.default_cfg
    assert resolve_data_config(model=model)["input_size"] == (3, 32, 32)
    assert isinstance(model.get_submodule(config["first_conv"]), nn.Conv2d)
    assert model.get_submodule(config["classifier"]) is model.get_classifier()
    assert isinstance(model.get_classifier(), nn.Linear)


@pytest.mark.parametrize("name", ONE_A_FAMILY)
def test_feature_maps_are_inputs_of_the_logits(name: str) -> None:
    torch.manual_seed(0)
    model = create_model(f"cifar/{name}", num_classes=10).eval()
    assert isinstance(model, Classifier)
    batch = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        final, taps = model.forward_intermediates(batch)
        torch.testing.assert_close(model.forward_head(final), model(batch))
        before = [tap.clone() for tap in taps]
        model(batch)
    assert all(torch.equal(tap, kept) for tap, kept in zip(taps, before, strict=True))


@pytest.mark.parametrize("name", ONE_A_FAMILY)
def test_weights_depend_on_the_seed(name: str) -> None:
    states = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        states.append(create_model(f"cifar/{name}", num_classes=10).state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert any(not torch.equal(states[0][key], states[2][key]) for key in states[0])


@pytest.mark.parametrize(
    ("name", "parameter", "deviation"),
    [
        ("cifar/resnet20", "layer3.2.conv2.weight", (2 / (64 * 9)) ** 0.5),
        ("cifar/wrn_16_2", "block3.layer.1.conv2.weight", (2 / (128 * 9)) ** 0.5),
        ("cifar/vgg8", "block2.0.weight", (2 / (256 * 9)) ** 0.5),
        ("cifar/vgg8", "classifier.weight", 0.01),
        ("cifar/MobileNetV2", "conv2.0.weight", (2 / 1280) ** 0.5),
        ("cifar/MobileNetV2", "classifier.0.weight", 0.01),
    ],
)
def test_initialization_matches_the_published_code(name: str, parameter: str, deviation: float) -> None:
    torch.manual_seed(0)
    assert create_model(name, num_classes=100).get_parameter(parameter).std().item() == pytest.approx(
        deviation, rel=0.05
    )


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("resnet8_025", 5_142), ("resnet8_050", 19_810), ("resnet8_100", 77_754), ("resnet8_150", 173_842)],
)
def test_mini_models_are_small(name: str, parameters: int) -> None:
    model = shaped(f"mini/{name}", num_classes=10, in_chans=1)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


def test_other_layouts_and_poolings_are_refused() -> None:
    model = shaped("cifar/resnet8")
    with pytest.raises(ValueError, match="NCHW"):
        model.forward_intermediates(images(), output_fmt="NLC")
    with pytest.raises(ValueError, match="average"):
        model.reset_classifier(7, global_pool="max")


@pytest.mark.parametrize(("family", "depth"), [("resnet", 21), ("resnet", 2), ("wrn", 20), ("wrn", 4)])
def test_invalid_depths_are_refused(family: str, depth: int) -> None:
    with pytest.raises(ValueError, match="depth"):
        ResNet(depth) if family == "resnet" else WideResNet(depth, 1)
