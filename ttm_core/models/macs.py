"""Counts the multiply-accumulates and parameters of a model on the meta device, which computes shapes only."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch
from timm.layers.config import set_fused_attn, use_fused_attn
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ttm_core.models.build import build
from ttm_core.spec.structure import ModelStructure


def macs(structure: ModelStructure, image_size: int) -> int | None:
    """Multiply-accumulates of one square image of `image_size` pixels; None where they cannot be counted."""
    return _macs(structure.model_dump_json(), image_size)


@lru_cache(maxsize=256)
def _macs(document: str, image_size: int) -> int | None:
    """Counting takes 0.1 s and more, and processes count the same models repeatedly."""
    structure = ModelStructure.model_validate_json(document)
    try:
        with countable_attention(), torch.device("meta"):
            return count_macs(build(structure).eval(), (structure.in_chans, image_size, image_size))
    except Exception:  # some of timm's models fail on the meta device, with any exception
        return None


def macs_of(model: nn.Module, structure: ModelStructure, image_size: int) -> int | None:
    """`macs` of an existing model of this structure. Does not build it again, which takes long for pruned ones."""
    copied = copy.deepcopy(model).to("meta").eval()
    attentions: list[Any] = [module for module in copied.modules() if getattr(module, "fused_attn", False)]
    for attention in attentions:
        attention.fused_attn = False
    try:
        return count_macs(copied, (structure.in_chans, image_size, image_size))
    except Exception:  # of any type: tensors that are neither parameters nor buffers are not on the meta device
        return macs(structure, image_size)


def count_macs(model: nn.Module, input_size: tuple[int, int, int]) -> int:
    """Multiply-accumulates for one image [C, H, W]. Create the model on the meta device under `countable_attention`."""
    # The counter fails on some models whose parameters require gradients.
    model.requires_grad_(False)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.empty(1, *input_size, device="meta"))
    return counter.get_total_flops() // 2


@contextmanager
def countable_attention() -> Iterator[None]:
    """Disables fused attention, which the counter does not support on the meta device."""
    fused = bool(use_fused_attn())
    set_fused_attn(False)
    try:
        yield
    finally:
        set_fused_attn(fused)
