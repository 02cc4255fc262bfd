"""Creates a model from its structure."""

from typing import Any, cast

import timm
from torch import nn

from ttm_core.models.pruning.history import prune_by_history
from ttm_core.models.timm_models import has_fixed_size, timm_name
from ttm_core.spec.catalogue import UnknownArchitecture, nearest
from ttm_core.spec.structure import ModelStructure


def build(structure: ModelStructure) -> nn.Module:
    """Creates a freshly initialized model: `cifar/...`, `mini/...` or a timm model. Never downloads weights.

    A timm name may have a tag (`resnet18.a1_in1k`), which selects the normalization and input size in the model's
    `pretrained_cfg`.

    Returns:
        A module from [B, in_chans, H, W] to [B, num_classes], with timm's `forward_features`, `forward_head` and
        `pretrained_cfg`.

    Raises:
        UnknownArchitecture: no model has this name; the error lists similar names.
        BadCheckpoint: the pruning history does not fit the architecture.
    """
    registered = timm_name(structure.architecture)
    # list_models takes a pattern; a name matches only itself, and deprecated names are not listed.
    if registered not in timm.list_models(registered, include_tags="." in registered):
        raise UnknownArchitecture(structure.architecture, nearest(structure.architecture))
    options = cast("dict[str, Any]", dict(structure.options))
    if structure.image_size is not None and has_fixed_size(structure.architecture):
        options["img_size"] = structure.image_size
    model = timm.create_model(
        registered, pretrained=False, num_classes=structure.num_classes, in_chans=structure.in_chans, **options
    )
    if structure.pruning:
        prune_by_history(model, structure)
    return model
