from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from tests.support.models import create_model
from ttm_core.models import timm_name
from ttm_core.spec.catalogue import UnknownArchitecture


def test_timm_creates_project_models_by_name(tmp_path: Path) -> None:
    model = create_model("cifar/resnet20", num_classes=10, in_chans=1).eval()
    save_file(model.state_dict(), tmp_path / "student.safetensors", metadata={"architecture": "cifar/resnet20"})
    opened = timm.create_model(
        "cifar_resnet20", num_classes=10, in_chans=1, checkpoint_path=str(tmp_path / "student.safetensors")
    ).eval()
    batch = torch.randn(2, 1, 28, 28)
    with torch.no_grad():
        assert torch.equal(opened(batch), model(batch))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cifar/resnet20", "cifar_resnet20"),
        ("cifar/MobileNetV2", "cifar_MobileNetV2"),
        ("mini/resnet8_025", "mini_resnet8_025"),
        ("resnet18.a1_in1k", "resnet18.a1_in1k"),
        ("other/resnet20", "other/resnet20"),
    ],
)
def test_timm_names(name: str, expected: str) -> None:
    assert timm_name(name) == expected


def test_timm_models_accept_classes_and_channels() -> None:
    with torch.device("meta"):
        model = create_model("mobilenetv3_small_050", num_classes=7, in_chans=1)
    assert model(torch.empty(2, 1, 64, 64, device="meta")).shape == (2, 7)


def test_tag_selects_the_pretrained_configuration() -> None:
    with torch.device("meta"):
        plain = create_model("resnet18", num_classes=7)
        tagged = create_model("resnet18.fb_swsl_ig1b_ft_in1k", num_classes=7)
    assert plain.pretrained_cfg["tag"] != tagged.pretrained_cfg["tag"] == "fb_swsl_ig1b_ft_in1k"


def test_fixed_size_models_are_built_for_the_requested_size() -> None:
    with torch.device("meta"):
        model = create_model("vit_tiny_patch16_224", num_classes=7, image_size=64)
        assert create_model("resnet18", num_classes=7, image_size=64) is not None
    assert model(torch.empty(2, 3, 64, 64, device="meta")).shape == (2, 7)


def test_options_are_passed_to_the_model() -> None:
    with torch.device("meta"):
        model = create_model("vit_tiny_patch16_224", num_classes=7, options={"drop_path_rate": 0.5})
    assert model.get_submodule("blocks.11.drop_path1").drop_prob == 0.5


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cifar/resnet21", "cifar/resnet20"),
        ("cifar/mobilenetv2", "cifar/MobileNetV2"),
        ("resnet20", "cifar/resnet20"),
        ("mobilenetv3_small_51", "mobilenetv3_small_050"),
        ("resnet18.no_such_tag", "resnet18"),
        ("hf-hub:timm/resnet18", "resnet18"),
        ("resnet18*", "resnet18"),
    ],
)
def test_unknown_names(name: str, expected: str) -> None:
    with pytest.raises(UnknownArchitecture, match="unknown architecture") as caught:
        create_model(name, num_classes=10)
    assert isinstance(caught.value, ValueError)
    assert caught.value.name == name
    assert expected in caught.value.nearest
    assert len(caught.value.nearest) <= 3
