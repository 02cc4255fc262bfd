"""The row of the catalogue that describes a model of timm's registry."""

from bisect import bisect_left
from typing import Any

import timm
import torch
from timm.models import get_pretrained_cfg
from torch import nn

from ttm_core.models.image_sizes import SIZES
from ttm_core.models.macs import count_macs, countable_attention, macs
from ttm_core.models.timm_models import timm_name
from ttm_core.spec import catalogue
from ttm_core.spec.catalogue import Architecture
from ttm_core.spec.structure import ModelStructure

_LARGEST_KERNEL = 96
"""In pixels of the image, of the last layers of networks that accept no image smaller than their kernels."""


def describe_model(name: str) -> tuple[Architecture, nn.Module, str | None]:
    """The row of a model without tags, the model on the meta device, and the reason if its multiply-accumulates cannot
    be counted.

    Raises:
        ValueError: timm has no configuration of the model.

    Errors of the model's constructor pass through.
    """
    registered = timm_name(name)
    configuration = get_pretrained_cfg(registered, allow_unregistered=False)
    if configuration is None:
        raise ValueError(f"default_cfgs has no entry {registered!r}")
    counted, reason = None, None
    with countable_attention():
        model = on_meta(registered).eval()
        try:
            counted = count_macs(model, configuration.input_size)
        except Exception as error:  # timm models raise exceptions of any type on the meta device
            reason = f"{type(error).__name__}: {error}".partition("\n")[0]
    row = Architecture(
        name=name,
        family="torchvision" if name.startswith("torchvision/") else type(model).__module__.rpartition(".")[2],
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        macs=counted,
        input_size=configuration.input_size,
        mean=configuration.mean,
        std=configuration.std,
        num_classes=configuration.num_classes,
        pretrained=timm.is_model_pretrained(registered),
        interpolation=configuration.interpolation,
        crop_pct=configuration.crop_pct,
        tags={},
        # Shapes on the meta device do not show it where they cannot be counted.
        min_size=catalogue.SMALLEST_IMAGE if counted is None else smallest_size(name, configuration.input_size[0]),
    )
    return row, model, reason


def smallest_size(name: str, channels: int) -> int:
    """Side in pixels of the smallest images that a model can process, as its shapes on the meta device show.

    Larger images are taken to fit as well, except where windows or patches must divide the image: the size is then the
    smallest multiple of 7 or 8 that fits.
    """

    def fits(size: int) -> bool:
        structure = ModelStructure(architecture=name, num_classes=10, in_chans=channels, image_size=size)
        return macs(structure, size) is not None

    least = catalogue.SMALLEST_IMAGE
    usual = next((size for size in SIZES if fits(size)), None)
    if usual is None:
        return least
    if usual > _LARGEST_KERNEL:
        return next(size for size in range(least, usual + 1) if (size % 7 == 0 or size % 8 == 0) and fits(size))
    # The usual size before it does not fit.
    before = max((size for size in SIZES if size < usual), default=least - 1)
    return bisect_left(range(usual + 1), True, lo=before + 1, hi=usual, key=fits)


def on_meta(registered: str, **options: Any) -> nn.Module:
    """A model on the meta device. `options` are those of timm's `create_model`."""
    try:
        with torch.device("meta"):
            return timm.create_model(registered, pretrained=False, **options)
    except NotImplementedError:  # the constructor computes with tensors
        return timm.create_model(registered, pretrained=False, **options).to("meta")
