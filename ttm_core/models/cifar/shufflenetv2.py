"""ShuffleNet V2 for small images: Ma et al., "ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture
Design", 2018, arXiv 1807.11164, with a 1x1 stem that keeps the resolution."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ttm_core.models.cifar.classifier import Classifier, FeatureInfo, linear
from ttm_core.models.cifar.shufflenet import shuffle_channels

STEM = 24


class SplitUnit(nn.Module):
    """Half of the channels pass untouched, the other half through 1x1, depthwise 3x3, 1x1."""

    def __init__(self, chans: int) -> None:
        super().__init__()
        half = chans // 2
        self.conv1 = nn.Conv2d(half, half, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(half)
        self.conv2 = nn.Conv2d(half, half, 3, padding=1, groups=half, bias=False)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv3 = nn.Conv2d(half, half, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(half)

    def forward(self, x: Tensor) -> Tensor:
        """[B, chans, H, W] -> [B, chans, H, W]."""
        untouched, y = x.chunk(2, dim=1)
        y = F.relu(self.bn1(self.conv1(y)), inplace=True)
        y = self.bn2(self.conv2(y))
        y = F.relu(self.bn3(self.conv3(y)), inplace=True)
        return shuffle_channels(torch.cat([untouched, y], dim=1), 2)


class DownUnit(nn.Module):
    """Two branches of stride 2 over all channels, each giving half of the output's."""

    def __init__(self, in_chans: int, out_chans: int) -> None:
        super().__init__()
        half = out_chans // 2
        self.conv1 = nn.Conv2d(in_chans, in_chans, 3, stride=2, padding=1, groups=in_chans, bias=False)
        self.bn1 = nn.BatchNorm2d(in_chans)
        self.conv2 = nn.Conv2d(in_chans, half, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv3 = nn.Conv2d(in_chans, half, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(half)
        self.conv4 = nn.Conv2d(half, half, 3, stride=2, padding=1, groups=half, bias=False)
        self.bn4 = nn.BatchNorm2d(half)
        self.conv5 = nn.Conv2d(half, half, 1, bias=False)
        self.bn5 = nn.BatchNorm2d(half)

    def forward(self, x: Tensor) -> Tensor:
        """[B, in_chans, H, W] -> [B, out_chans, H / 2, W / 2]."""
        left = self.bn1(self.conv1(x))
        left = F.relu(self.bn2(self.conv2(left)), inplace=True)
        right = F.relu(self.bn3(self.conv3(x)), inplace=True)
        right = self.bn4(self.conv4(right))
        right = F.relu(self.bn5(self.conv5(right)), inplace=True)
        return shuffle_channels(torch.cat([left, right], dim=1), 2)


class ShuffleNetV2(Classifier):
    """Three stages of 4, 8 and 4 units with 116, 232 and 464 channels, and a 1x1 convolution to 1024.

    Args:
        num_classes: width of the logits.
        in_chans: channels of the image.
    """

    body = ("conv1", "bn1", "act1", "layer1", "layer2", "layer3", "conv2", "bn2", "act2")
    first_conv = "conv1"
    classifier_name = "linear"

    def __init__(self, *, num_classes: int = 100, in_chans: int = 3) -> None:
        super().__init__(num_classes=num_classes, in_chans=in_chans)
        self.conv1 = nn.Conv2d(in_chans, STEM, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(STEM)
        self.act1 = nn.ReLU(inplace=True)
        self.layer1 = _stage(STEM, 116, units=4)
        self.layer2 = _stage(116, 232, units=8)
        self.layer3 = _stage(232, 464, units=4)
        self.num_features = 1024
        self.conv2 = nn.Conv2d(464, self.num_features, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(self.num_features)
        self.act2 = nn.ReLU(inplace=True)
        self.linear = linear(self.num_features, num_classes)
        self.feature_info = [
            FeatureInfo(num_chs=STEM, reduction=1, module="act1"),
            FeatureInfo(num_chs=116, reduction=2, module="layer1"),
            FeatureInfo(num_chs=232, reduction=4, module="layer2"),
            FeatureInfo(num_chs=464, reduction=8, module="layer3"),
        ]


def _stage(in_chans: int, out_chans: int, units: int) -> nn.Sequential:
    return nn.Sequential(DownUnit(in_chans, out_chans), *(SplitUnit(out_chans) for _ in range(units - 1)))
