from typing import Any

import timm
from timm.models import get_pretrained_cfg
from torch import nn

from ttm_core.models.timm_models import timm_name
from ttm_core.spec.catalogue import UnknownArchitecture, nearest


def create_model(
    name: str, *, num_classes: int, in_chans: int = 3, image_size: int | None = None, **options: Any
) -> nn.Module:
    """A freshly initialized model by its name: `cifar/...`, `mini/...`, or one of timm's. Weights are never fetched.

    Args:
        name: as in `ttm_core.spec.catalogue`; a timm name may carry a tag (`resnet18.a1_in1k`), which selects the
            normalization and the input size told by its `pretrained_cfg`.
        num_classes: width C of the logits; 0 makes a model that ends with its pooled features.
        in_chans: channels of the image.
        image_size: side of the square input in pixels, for models that are built for one size; others take any.
        options: further arguments of the architecture in timm, such as `drop_path_rate`.

    Returns:
        A module from [B, in_chans, H, W] to [B, C], with timm's `forward_features`, `forward_head` and
        `pretrained_cfg`.

    Raises:
        UnknownArchitecture: no model has this name; the error carries the nearest.
    """
    registered = timm_name(name)
    # An exact name is a pattern that matches itself alone, and deprecated names are not listed.
    if registered not in timm.list_models(registered, include_tags="." in registered):
        raise UnknownArchitecture(name, nearest(name))
    configuration = get_pretrained_cfg(registered)
    if image_size is not None and configuration is not None and configuration.fixed_input_size:
        options["img_size"] = image_size
    return timm.create_model(registered, pretrained=False, num_classes=num_classes, in_chans=in_chans, **options)
