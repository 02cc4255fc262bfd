"""The row of the catalogue that describes a model of timm's registry."""

import timm
import torch
from timm.models import get_pretrained_cfg
from torch import nn

from ttm_core.models.macs import count_macs, countable_attention
from ttm_core.models.timm_models import timm_name
from ttm_core.spec.catalogue import Architecture


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
    macs, reason = None, None
    with countable_attention():
        model = _on_meta(registered).eval()
        try:
            macs = count_macs(model, configuration.input_size)
        except Exception as error:  # timm models raise exceptions of any type on the meta device
            reason = f"{type(error).__name__}: {error}".partition("\n")[0]
    row = Architecture(
        name=name,
        family="torchvision" if name.startswith("torchvision/") else type(model).__module__.rpartition(".")[2],
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        macs=macs,
        input_size=configuration.input_size,
        mean=configuration.mean,
        std=configuration.std,
        num_classes=configuration.num_classes,
        pretrained=timm.is_model_pretrained(registered),
        interpolation=configuration.interpolation,
        crop_pct=configuration.crop_pct,
        tags={},
    )
    return row, model, reason


def _on_meta(registered: str) -> nn.Module:
    """A model on the meta device."""
    try:
        with torch.device("meta"):
            return timm.create_model(registered, pretrained=False)
    except NotImplementedError:  # the constructor computes with tensors
        return timm.create_model(registered, pretrained=False).to("meta")
