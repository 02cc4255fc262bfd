"""ResNets for small images: He et al., "Deep Residual Learning for Image Recognition", 2015, arXiv 1512.03385,
section 4.2."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from ttm_core.models.cifar.classifier import Classifier, FeatureInfo, initialize_convolutions, linear


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a residual connection."""

    def __init__(self, in_chans: int, out_chans: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_chans, out_chans, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_chans)
        self.conv2 = nn.Conv2d(out_chans, out_chans, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_chans)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or in_chans != out_chans:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_chans, out_chans, 1, stride, bias=False), nn.BatchNorm2d(out_chans)
            )

    def forward(self, x: Tensor) -> Tensor:
        """[B, in_chans, H, W] -> [B, out_chans, H / stride, W / stride]."""
        residual = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(residual)) + self.downsample(x), inplace=True)


class ResNet(Classifier):
    """Three stages of basic blocks, the second and third at half the resolution of the one before.

    Args:
        depth: 6n + 2 layers, n blocks per stage.
        widths: channels of the stem and of the three stages.
        num_classes: width of the logits.
        in_chans: channels of the image.

    Raises:
        ValueError: `depth` is not 6n + 2.
    """

    body = ("conv1", "bn1", "act1", "layer1", "layer2", "layer3")
    first_conv = "conv1"
    classifier_name = "fc"

    def __init__(
        self, depth: int, widths: Sequence[int] = (16, 16, 32, 64), *, num_classes: int = 100, in_chans: int = 3
    ) -> None:
        super().__init__(num_classes=num_classes, in_chans=in_chans)
        blocks, rest = divmod(depth - 2, 6)
        if rest or blocks < 1:
            raise ValueError(f"depth is {depth}; it must be 6n + 2")
        stem, first, second, third = widths
        self.conv1 = nn.Conv2d(in_chans, stem, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.act1 = nn.ReLU(inplace=True)
        self.layer1 = _stage(stem, first, blocks, stride=1)
        self.layer2 = _stage(first, second, blocks, stride=2)
        self.layer3 = _stage(second, third, blocks, stride=2)
        self.num_features = third
        self.fc = linear(third, num_classes)
        self.feature_info = [
            FeatureInfo(num_chs=stem, reduction=1, module="act1"),
            FeatureInfo(num_chs=first, reduction=1, module="layer1"),
            FeatureInfo(num_chs=second, reduction=2, module="layer2"),
            FeatureInfo(num_chs=third, reduction=4, module="layer3"),
        ]
        initialize_convolutions(self)


def _stage(in_chans: int, out_chans: int, blocks: int, stride: int) -> nn.Sequential:
    rest = [BasicBlock(out_chans, out_chans, stride=1) for _ in range(blocks - 1)]
    return nn.Sequential(BasicBlock(in_chans, out_chans, stride), *rest)


EXPANSION = 4


class Bottleneck(nn.Module):
    """A 3x3 convolution between a narrowing and a widening 1x1, with a residual connection."""

    def __init__(self, in_chans: int, width: int, stride: int) -> None:
        super().__init__()
        out_chans = EXPANSION * width
        self.conv1 = nn.Conv2d(in_chans, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_chans, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_chans)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_chans != out_chans:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_chans, out_chans, 1, stride, bias=False), nn.BatchNorm2d(out_chans)
            )

    def forward(self, x: Tensor) -> Tensor:
        """[B, in_chans, H, W] -> [B, 4 * width, H / stride, W / stride]."""
        residual = F.relu(self.bn1(self.conv1(x)), inplace=True)
        residual = F.relu(self.bn2(self.conv2(residual)), inplace=True)
        return F.relu(self.bn3(self.conv3(residual)) + self.shortcut(x), inplace=True)


class BottleneckResNet(Classifier):
    """Four stages of bottleneck blocks of width 64, 128, 256 and 512, each after the first at half the resolution.

    Args:
        blocks: number per stage.
        num_classes: width of the logits.
        in_chans: channels of the image.
    """

    body = ("conv1", "bn1", "act1", "layer1", "layer2", "layer3", "layer4")
    first_conv = "conv1"
    classifier_name = "linear"

    def __init__(self, blocks: Sequence[int], *, num_classes: int = 100, in_chans: int = 3) -> None:
        super().__init__(num_classes=num_classes, in_chans=in_chans)
        first, second, third, fourth = blocks
        self.conv1 = nn.Conv2d(in_chans, 64, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.act1 = nn.ReLU(inplace=True)
        self.layer1 = _bottleneck_stage(64, 64, first, stride=1)
        self.layer2 = _bottleneck_stage(256, 128, second, stride=2)
        self.layer3 = _bottleneck_stage(512, 256, third, stride=2)
        self.layer4 = _bottleneck_stage(1024, 512, fourth, stride=2)
        self.num_features = 2048
        self.linear = linear(self.num_features, num_classes)
        self.feature_info = [
            FeatureInfo(num_chs=64, reduction=1, module="act1"),
            FeatureInfo(num_chs=256, reduction=1, module="layer1"),
            FeatureInfo(num_chs=512, reduction=2, module="layer2"),
            FeatureInfo(num_chs=1024, reduction=4, module="layer3"),
            FeatureInfo(num_chs=2048, reduction=8, module="layer4"),
        ]
        initialize_convolutions(self)


def _bottleneck_stage(in_chans: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    rest = [Bottleneck(EXPANSION * width, width, stride=1) for _ in range(blocks - 1)]
    return nn.Sequential(Bottleneck(in_chans, width, stride), *rest)
