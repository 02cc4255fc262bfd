"""Folding batch norms keeps the outputs of a model."""

import pytest
import torch
from torch import nn

from tests.support.models import create_model
from ttm_core.models.teachers.fold import fold_batch_norms


def norms(model: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())


def trained(model: nn.Module, channels: int, size: int) -> nn.Module:
    """Sets statistics and scales as after training."""
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.normal_(0, 0.3, generator=generator)
    model.train()
    with torch.no_grad():
        for _ in range(3):
            model(torch.randn(8, channels, size, size, generator=generator))
    return model.eval()


@pytest.mark.parametrize(
    ("name", "size", "left"),
    [
        ("mini/resnet8_050", 28, 0),
        ("cifar/resnet20", 32, 0),
        ("cifar/wrn_16_2", 32, 6),  # pre-activation: norms after a sum have no preceding convolution
        ("cifar/vgg8", 32, 0),
        ("cifar/MobileNetV2", 32, 0),
        ("cifar/ShuffleV1", 32, 0),
        ("cifar/ShuffleV2", 32, 0),
        ("cifar/ResNet50", 32, 0),
        ("mobilenetv1_100", 64, 0),
        ("tf_efficientnet_lite0", 64, 0),
        ("resnet18", 64, 0),
        ("densenet121", 64, None),
        ("resnetv2_50", 64, None),
        ("regnetx_002", 64, 0),
        ("convnext_atto", 64, 0),
        ("vit_tiny_patch16_224", 224, 0),
    ],
)
def test_folding_keeps_logits_and_removes_norms(name, size, left):
    torch.manual_seed(0)
    channels = 3
    model = trained(create_model(name, num_classes=10, in_chans=channels, image_size=size), channels, size)
    folded = fold_batch_norms(model, channels, size)
    x = torch.randn(4, channels, size, size)
    with torch.no_grad():
        torch.testing.assert_close(folded(x), model(x), rtol=2e-3, atol=2e-3)
    if left is not None:
        assert norms(folded) == left


class ReadsTwice(nn.Module):
    """A convolution with a second consumer of its output."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm, self.head = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.convolution(x)
        return self.head((self.norm(x) + x).mean((2, 3)))


class ChangesInPlace(ReadsTwice):
    """The output of the convolution is changed before the norm reads it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.convolution(x)
        x += 1
        return self.head(self.norm(x).mean((2, 3)))


class RunsTwice(ReadsTwice):
    """A convolution that runs once with its norm, and once without."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        plain = self.convolution(x).mean((2, 3))
        return self.head(self.norm(self.convolution(x)).mean((2, 3)) + plain)


@pytest.mark.parametrize("kind", [ReadsTwice, ChangesInPlace, RunsTwice])
def test_unfoldable_models_stay_unchanged(kind):
    torch.manual_seed(0)
    model = trained(kind(), 3, 8)
    assert fold_batch_norms(model, 3, 8) is model
    assert norms(model) == 1
