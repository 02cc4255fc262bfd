"""Multiply-accumulates of a model, counted on the meta device, which knows shapes and does no arithmetic."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from timm.layers.config import set_fused_attn, use_fused_attn
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def count_macs(model: nn.Module, input_size: tuple[int, int, int]) -> int:
    """Of one image [C, H, W]; the model is on the meta device and was made under `countable_attention`."""
    # The counter fails on some models whose parameters ask for a gradient.
    model.requires_grad_(False)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.empty(1, *input_size, device="meta"))
    return counter.get_total_flops() // 2


@contextmanager
def countable_attention() -> Iterator[None]:
    """Attention as matrix products: the fused operation is not counted on the meta device."""
    fused = bool(use_fused_attn())
    set_fused_attn(False)
    try:
        yield
    finally:
        set_fused_attn(fused)
