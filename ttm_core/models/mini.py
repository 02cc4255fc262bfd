"""ResNets with eight layers and a few thousand parameters, for images of 28 to 32 pixels."""

from ttm_core.models.cifar.resnet import ResNet
from ttm_core.models.timm_models import Design, Designs, configurations, register

MINI: Designs = {
    f"resnet8_{percent:03}": Design(ResNet, (8, tuple(width * percent // 100 for width in (16, 16, 32, 64))))
    for percent in (25, 50, 100, 150)
}

default_cfgs = configurations(
    "mini",
    MINI,
    num_classes=10,
    input_size=(3, 32, 32),
    interpolation="bilinear",
    crop_pct=1.0,
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
)
register(__name__, "mini", MINI)
