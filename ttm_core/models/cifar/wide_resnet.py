"""Wide residual networks: Zagoruyko and Komodakis, "Wide Residual Networks", 2016, arXiv 1605.07146."""

import torch.nn.functional as F
from torch import Tensor, nn

from ttm_core.models.cifar.classifier import Classifier, FeatureInfo, initialize_convolutions, linear


class PreActivationBlock(nn.Module):
    """Normalization and activation before each of two 3x3 convolutions; where the shape changes, the shortcut starts
    after the first activation."""

    def __init__(self, in_chans: int, out_chans: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_chans)
        self.conv1 = nn.Conv2d(in_chans, out_chans, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_chans)
        self.conv2 = nn.Conv2d(out_chans, out_chans, 3, padding=1, bias=False)
        self.convShortcut = None if in_chans == out_chans else nn.Conv2d(in_chans, out_chans, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, in_chans, H, W] -> [B, out_chans, H / stride, W / stride]."""
        activated = F.relu(self.bn1(x), inplace=True)
        residual = self.conv2(F.relu(self.bn2(self.conv1(activated)), inplace=True))
        shortcut = x if self.convShortcut is None else self.convShortcut(activated)
        return shortcut + residual


class Stage(nn.Module):
    """Blocks of one width."""

    def __init__(self, in_chans: int, out_chans: int, blocks: int, stride: int) -> None:
        super().__init__()
        rest = [PreActivationBlock(out_chans, out_chans, stride=1) for _ in range(blocks - 1)]
        self.layer = nn.Sequential(PreActivationBlock(in_chans, out_chans, stride), *rest)

    def forward(self, x: Tensor) -> Tensor:
        """[B, in_chans, H, W] -> [B, out_chans, H / stride, W / stride]."""
        return self.layer(x)


class WideResNet(Classifier):
    """Three stages of pre-activation blocks, `width` times as wide as a plain ResNet's.

    Args:
        depth: 6n + 4 layers, n blocks per stage.
        width: the widening factor.
        num_classes: width of the logits.
        in_chans: channels of the image.

    Raises:
        ValueError: `depth` is not 6n + 4.
    """

    body = ("conv1", "block1", "block2", "block3", "bn1", "act1")
    first_conv = "conv1"
    classifier_name = "fc"

    def __init__(self, depth: int, width: int, *, num_classes: int = 100, in_chans: int = 3) -> None:
        super().__init__(num_classes=num_classes, in_chans=in_chans)
        blocks, rest = divmod(depth - 4, 6)
        if rest or blocks < 1:
            raise ValueError(f"depth is {depth}; it must be 6n + 4")
        stem, first, second, third = 16, 16 * width, 32 * width, 64 * width
        self.conv1 = nn.Conv2d(in_chans, stem, 3, padding=1, bias=False)
        self.block1 = Stage(stem, first, blocks, stride=1)
        self.block2 = Stage(first, second, blocks, stride=2)
        self.block3 = Stage(second, third, blocks, stride=2)
        self.bn1 = nn.BatchNorm2d(third)
        self.act1 = nn.ReLU(inplace=True)
        self.num_features = third
        self.fc = linear(third, num_classes)
        self.feature_info = [
            FeatureInfo(num_chs=stem, reduction=1, module="conv1"),
            FeatureInfo(num_chs=first, reduction=1, module="block1"),
            FeatureInfo(num_chs=second, reduction=2, module="block2"),
            FeatureInfo(num_chs=third, reduction=4, module="act1"),
        ]
        initialize_convolutions(self)
        if isinstance(self.fc, nn.Linear):
            nn.init.zeros_(self.fc.bias)
