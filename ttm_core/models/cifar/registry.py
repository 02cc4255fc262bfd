"""The 22 models of the knowledge-distillation literature on CIFAR, under the names and state-dict keys of its published
teacher checkpoints (Tian, Krishnan and Isola, "Contrastive Representation Distillation", 2020, arXiv 1910.10699), and
four ResNets with eight layers and a few thousand parameters, for images of 28 to 32 pixels."""

from ttm_core.models.cifar.mobilenetv2 import MobileNetV2
from ttm_core.models.cifar.resnet import BottleneckResNet, ResNet
from ttm_core.models.cifar.shufflenet import ShuffleNet
from ttm_core.models.cifar.shufflenetv2 import ShuffleNetV2
from ttm_core.models.cifar.vgg import Vgg
from ttm_core.models.cifar.wide_resnet import WideResNet
from ttm_core.models.timm_models import Design, Designs, configurations, register

CIFAR: Designs = {
    **{f"resnet{depth}": Design(ResNet, (depth,)) for depth in (8, 14, 20, 32, 44, 56, 110)},
    "resnet8x4": Design(ResNet, (8, (32, 64, 128, 256))),
    "resnet32x4": Design(ResNet, (32, (32, 64, 128, 256))),
    "ResNet50": Design(BottleneckResNet, ((3, 4, 6, 3),)),
    **{f"wrn_{depth}_{width}": Design(WideResNet, (depth, width)) for depth in (16, 40) for width in (1, 2)},
    "vgg8": Design(Vgg, ((1, 1, 1, 1, 1),)),
    "vgg11": Design(Vgg, ((1, 1, 2, 2, 2),)),
    "vgg13": Design(Vgg, ((2, 2, 2, 2, 2),)),
    "vgg16": Design(Vgg, ((2, 2, 3, 3, 3),)),
    "vgg19": Design(Vgg, ((2, 2, 4, 4, 4),)),
    "MobileNetV2": Design(MobileNetV2),
    "ShuffleV1": Design(ShuffleNet),
    "ShuffleV2": Design(ShuffleNetV2),
}

MINI: Designs = {
    f"resnet8_{percent:03}": Design(ResNet, (8, tuple(width * percent // 100 for width in (16, 16, 32, 64))))
    for percent in (25, 50, 100, 150)
}

default_cfgs = configurations(
    "cifar",
    CIFAR,
    num_classes=100,
    input_size=(3, 32, 32),
    interpolation="bilinear",
    crop_pct=1.0,
    mean=(0.5071, 0.4867, 0.4408),
    std=(0.2675, 0.2565, 0.2761),
) | configurations(
    "mini",
    MINI,
    num_classes=10,
    input_size=(3, 32, 32),
    interpolation="bilinear",
    crop_pct=1.0,
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
)
register(__name__, "cifar", CIFAR)
register(__name__, "mini", MINI)
