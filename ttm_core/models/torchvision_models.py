"""torchvision's classification models, registered with timm as `torchvision_NAME`. Files saved from torchvision load
without renamed keys.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models._pretrained import DefaultCfg
from torch import nn
from torchvision import models

TORCHVISION = tuple(models.list_models(module=models))

# Extra classifiers that only train the model. Published files contain them.
AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")
_WITH_AUXILIARY = ("googlenet", "inception_v3")
_FIXED_SIZE = {"vit": "image_size", "maxvit": "input_size"}
# The modules that hold the first convolution and the classifier, by family. The longest prefix of the name decides.
_LAYERS = {
    "alexnet": ("features.0", "classifier.6"),
    "convnext": ("features.0.0", "classifier.2"),
    "densenet": ("features.conv0", "classifier"),
    "efficientnet": ("features.0.0", "classifier.1"),
    "googlenet": ("conv1.conv", "fc"),
    "inception": ("Conv2d_1a_3x3.conv", "fc"),
    "maxvit": ("stem.0.0", "classifier.5"),
    "mnasnet": ("layers.0", "classifier.1"),
    "mobilenet_v2": ("features.0.0", "classifier.1"),
    "mobilenet_v3": ("features.0.0", "classifier.3"),
    "regnet": ("stem.0", "fc"),
    "resnet": ("conv1", "fc"),
    "resnext": ("conv1", "fc"),
    "shufflenet": ("conv1.0", "fc"),
    "squeezenet": ("features.0", "classifier.1"),
    "swin": ("features.0.0", "head"),
    "vgg": ("features.0", "classifier.6"),
    "vit": ("conv_proj", "heads.head"),
    "wide_resnet": ("conv1", "fc"),
}


def create(
    name: str,
    *,
    num_classes: int,
    in_chans: int = 3,
    img_size: int | tuple[int, int] | None = None,
    **options: Any,
) -> nn.Module:
    """Creates a freshly initialized model of torchvision without auxiliary classifiers.

    Raises:
        ValueError: `in_chans` is not 3, or `num_classes` is 0.
    """
    if in_chans != 3 or num_classes < 1:
        raise ValueError(f"torchvision/{name} supports images with 3 channels and at least one class only")
    if name in _WITH_AUXILIARY:
        options |= {"aux_logits": False, "init_weights": False, "transform_input": False}
    if img_size is not None:
        height, width = (img_size, img_size) if isinstance(img_size, int) else img_size
        options[_FIXED_SIZE[name.partition("_")[0]]] = (height, width) if name.startswith("maxvit") else height
    return models.get_model(name, weights=None, num_classes=num_classes, **options)


def _configuration(name: str) -> dict[str, Any]:
    """timm's default configuration, with the preprocessing of torchvision's own weights."""
    first_conv, classifier = _LAYERS[max((key for key in _LAYERS if name.startswith(key)), key=len)]
    transforms = models.get_model_weights(name).DEFAULT.transforms()
    size = transforms.crop_size[0]
    # torchvision converts ImageNet's normalization to this one inside these two models.
    half = name in _WITH_AUXILIARY
    return {
        "num_classes": 1000,
        "input_size": (3, size, size),
        "mean": (0.5, 0.5, 0.5) if half else tuple(transforms.mean),
        "std": (0.5, 0.5, 0.5) if half else tuple(transforms.std),
        "interpolation": transforms.interpolation.value,
        "crop_pct": size / transforms.resize_size[0],
        "first_conv": first_conv,
        "classifier": classifier,
        "fixed_input_size": name.partition("_")[0] in _FIXED_SIZE,
    }


def _entrypoint(name: str) -> Callable[..., nn.Module]:
    def build(pretrained: bool = False, **options: Any) -> nn.Module:
        return build_model_with_cfg(partial(create, name), f"torchvision_{name}", pretrained, **options)

    build.__module__, build.__name__ = __name__, f"torchvision_{name}"
    return build


# timm reads this name when it registers a model of this module.
default_cfgs: dict[str, DefaultCfg] = generate_default_cfgs(
    {f"torchvision_{name}": _configuration(name) for name in TORCHVISION}
)
for _name in TORCHVISION:
    register_model(_entrypoint(_name))
