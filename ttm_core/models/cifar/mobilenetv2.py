"""MobileNetV2 at half width for small images: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks",
2018, arXiv 1801.04381; the small-image variant is from Tian, Krishnan and Isola, "Contrastive Representation
Distillation", 2020, arXiv 1910.10699."""

from torch import Tensor, nn

from ttm_core.models.cifar.classifier import Classifier, FeatureInfo, initialize_convolutions, initialize_narrow, linear

# Expansion, channels at full width, blocks, stride of the first. As published, except that the stride of the second
# stage is 1, because images are small.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class InvertedResidual(nn.Module):
    """A depthwise 3x3 convolution between a widening and a linear narrowing 1x1."""

    def __init__(self, in_chans: int, out_chans: int, stride: int, expansion: int) -> None:
        super().__init__()
        self.residual = stride == 1 and in_chans == out_chans
        width = in_chans * expansion
        self.conv = nn.Sequential(
            nn.Conv2d(in_chans, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, stride, padding=1, groups=width, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, out_chans, 1, bias=False),
            nn.BatchNorm2d(out_chans),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, in_chans, H, W] -> [B, out_chans, H / stride, W / stride]."""
        transformed = self.conv(x)
        return x + transformed if self.residual else transformed


class MobileNetV2(Classifier):
    """A stem of stride 2, seven stages of inverted residuals, and a 1x1 convolution to 1280 channels.

    Args:
        width: multiplies the channels of all but the last convolution.
        num_classes: width of the logits.
        in_chans: channels of the image.
    """

    body = ("conv1", *(f"blocks.{i}" for i in range(len(STAGES))), "conv2")
    first_conv = "conv1.0"
    classifier_name = "classifier.0"

    def __init__(self, width: float = 0.5, *, num_classes: int = 100, in_chans: int = 3) -> None:
        super().__init__(num_classes=num_classes, in_chans=in_chans)
        chans = int(32 * width)
        self.conv1 = nn.Sequential(
            nn.Conv2d(in_chans, chans, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(chans),
            nn.ReLU(inplace=True),
        )
        self.blocks = nn.Sequential()
        self.feature_info = []
        reduction = 2
        for i, (expansion, full_width, blocks, stride) in enumerate(STAGES):
            before, chans = chans, int(full_width * width)
            rest = [InvertedResidual(chans, chans, 1, expansion) for _ in range(blocks - 1)]
            self.blocks.append(nn.Sequential(InvertedResidual(before, chans, stride, expansion), *rest))
            reduction *= stride
            self.feature_info.append(FeatureInfo(num_chs=chans, reduction=reduction, module=f"blocks.{i}"))
        self.num_features = 1280
        self.conv2 = nn.Sequential(
            nn.Conv2d(chans, self.num_features, 1, bias=False),
            nn.BatchNorm2d(self.num_features),
            nn.ReLU(inplace=True),
        )
        self.classifier = nn.Sequential(linear(self.num_features, num_classes))
        initialize_convolutions(self)
        initialize_narrow(self.get_classifier())
