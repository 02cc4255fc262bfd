"""VGG for small images, with batch normalization and one linear layer: Simonyan and Zisserman, "Very Deep Convolutional
Networks for Large-Scale Image Recognition", 2014, arXiv 1409.1556; the small-image variant is from Tian, Krishnan
and Isola, "Contrastive Representation Distillation", 2020, arXiv 1910.10699."""

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from ttm_core.models.cifar.classifier import Classifier, FeatureInfo, initialize_convolutions, initialize_narrow, linear

WIDTHS = (64, 128, 256, 512, 512)


class PoolLargeMaps(nn.Module):
    """Halves feature maps of at least 8 x 8: both 32-pixel and 64-pixel images end with 4 x 4."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W] or [B, C, H // 2, W // 2]."""
        return F.max_pool2d(x, 2) if min(x.shape[-2:]) >= 8 else x


class Vgg(Classifier):
    """Five blocks of 3x3 convolutions of 64, 128, 256, 512 and 512 channels.

    Args:
        convolutions: number per block.
        num_classes: width of the logits.
        in_chans: channels of the image.
    """

    body = tuple(f"{part}{i}" for i in range(5) for part in ("block", "act", "pool"))[:-1]
    first_conv = "block0.0"
    classifier_name = "classifier"

    def __init__(self, convolutions: Sequence[int], *, num_classes: int = 100, in_chans: int = 3) -> None:
        super().__init__(num_classes=num_classes, in_chans=in_chans)
        for i, (before, width) in enumerate(pairwise((in_chans, *WIDTHS))):
            self.add_module(f"block{i}", _block(before, width, convolutions[i]))
            self.add_module(f"act{i}", nn.ReLU(inplace=True))
        for i in range(3):
            self.add_module(f"pool{i}", nn.MaxPool2d(2))
        self.pool3 = PoolLargeMaps()
        self.num_features = WIDTHS[-1]
        self.classifier = linear(self.num_features, num_classes)
        self.feature_info = [
            FeatureInfo(num_chs=width, reduction=reduction, module=f"act{i}")
            for i, (width, reduction) in enumerate(zip(WIDTHS, (1, 2, 4, 8, 8), strict=True))
        ]
        initialize_convolutions(self)
        initialize_narrow(self.classifier)


def _block(in_chans: int, out_chans: int, convolutions: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i in range(convolutions):
        layers += [nn.Conv2d(out_chans if i else in_chans, out_chans, 3, padding=1), nn.BatchNorm2d(out_chans)]
        layers += [nn.ReLU(inplace=True)]
    return nn.Sequential(*layers[:-1])
