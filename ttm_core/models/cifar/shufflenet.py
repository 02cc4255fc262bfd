"""ShuffleNet for small images: Zhang et al., "ShuffleNet: An Extremely Efficient Convolutional Neural Network for
Mobile Devices", 2017, arXiv 1707.01083, with a 1x1 stem that keeps the resolution."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ttm_core.models.cifar.classifier import Classifier, FeatureInfo, linear

STEM = 24
GROUPS = 3


def shuffle_channels(x: Tensor, groups: int) -> Tensor:
    """Interleaves the channels of the groups of [B, C, H, W], like `torch.nn.functional.channel_shuffle`.

    Uses operations that every exporter supports.
    """
    return x.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2)


class ShuffleUnit(nn.Module):
    """Grouped 1x1, depthwise 3x3, grouped 1x1; a unit of stride 2 concatenates its averaged input, another adds it."""

    def __init__(self, in_chans: int, out_chans: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        # The first unit has too few channels for groups.
        self.groups = 1 if in_chans == STEM else GROUPS
        computed = out_chans - in_chans if stride == 2 else out_chans
        width = computed // 4
        self.conv1 = nn.Conv2d(in_chans, width, 1, groups=self.groups, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, groups=width, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, computed, 1, groups=GROUPS, bias=False)
        self.bn3 = nn.BatchNorm2d(computed)

    def forward(self, x: Tensor) -> Tensor:
        """[B, in_chans, H, W] -> [B, out_chans, H / stride, W / stride]."""
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(self.bn2(self.conv2(shuffle_channels(y, self.groups))), inplace=True)
        y = self.bn3(self.conv3(y))
        if self.stride == 2:
            return F.relu(torch.cat([y, F.avg_pool2d(x, 3, stride=2, padding=1)], dim=1), inplace=True)
        return F.relu(y + x, inplace=True)


class ShuffleNet(Classifier):
    """Three stages of 4, 8 and 4 shuffle units with 240, 480 and 960 channels, each beginning with stride 2.

    Args:
        num_classes: width of the logits.
        in_chans: channels of the image.
    """

    body = ("conv1", "bn1", "act1", "layer1", "layer2", "layer3")
    first_conv = "conv1"
    classifier_name = "linear"

    def __init__(self, *, num_classes: int = 100, in_chans: int = 3) -> None:
        super().__init__(num_classes=num_classes, in_chans=in_chans)
        self.conv1 = nn.Conv2d(in_chans, STEM, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(STEM)
        self.act1 = nn.ReLU(inplace=True)
        self.layer1 = _stage(STEM, 240, units=4)
        self.layer2 = _stage(240, 480, units=8)
        self.layer3 = _stage(480, 960, units=4)
        self.num_features = 960
        self.linear = linear(self.num_features, num_classes)
        self.feature_info = [
            FeatureInfo(num_chs=STEM, reduction=1, module="act1"),
            FeatureInfo(num_chs=240, reduction=2, module="layer1"),
            FeatureInfo(num_chs=480, reduction=4, module="layer2"),
            FeatureInfo(num_chs=960, reduction=8, module="layer3"),
        ]


def _stage(in_chans: int, out_chans: int, units: int) -> nn.Sequential:
    rest = [ShuffleUnit(out_chans, out_chans, stride=1) for _ in range(units - 1)]
    return nn.Sequential(ShuffleUnit(in_chans, out_chans, stride=2), *rest)
