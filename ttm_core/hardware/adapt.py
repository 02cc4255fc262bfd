"""Adapts models to CPUs: replaces operations whose kernels are wrong or slow."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from ttm_core.hardware.convolutions import compute_slow_gradients_in_float32, skip_padding_of_small_inputs
from ttm_core.models.preprocess import Preprocess
from ttm_core.models.workarounds import subsample_before_narrow_strided_pointwise
from ttm_core.precision import Precision, autocast

# Unfused attention keeps its weights for the backward pass: with 196 patches a sixth of what a ViT keeps anyway, with
# 576 half of it.
_MOST_KEYS = 256


def adapt_to_device(
    model: nn.Module, preprocess: Preprocess, device: torch.device, precision: Precision, *, train: bool
) -> None:
    """Replaces operations of a model whose kernels on its device are wrong or slow. On a GPU, there are none.

    - Convolutions over inputs of few pixels do not compute the part of the kernel that lies on padding.
    - In training, strided 1x1 convolutions with few channels take every second pixel of their input.
    - In training, depthwise convolutions with slow bfloat16 gradients compute in float32.
    - Without AMX, timm's attention over up to 256 keys computes bfloat16 by matrix products and a softmax: torch's
      fused attention multiplies without the CPU's units for it.

    Results differ by rounding; names and weights stay. The changes depend on the CPU and the model alone, so that equal
    runs on equal machines give equal students.

    Args:
        model: on `device`, changed in place.
        preprocess: of its images.
        device: of the run.
        precision: of the model's forward passes.
        train: whether gradients are computed.
    """
    if device.type != "cpu":
        return
    skip_padding_of_small_inputs(model)
    if train:
        subsample_before_narrow_strided_pointwise(model)
    if precision != "bfloat16":
        return
    if train:
        compute_slow_gradients_in_float32(model)
    if not torch.cpu.get_capabilities().get("amx_bf16", False):
        _use_unfused_attention(model, preprocess)


def _use_unfused_attention(model: nn.Module, preprocess: Preprocess) -> None:
    attentions: list[Any] = [module for module in model.modules() if getattr(module, "fused_attn", False)]
    if not attentions or _most_keys(model, preprocess) > _MOST_KEYS:
        return
    for attention in attentions:
        attention.fused_attn = False


@torch.no_grad()
def _most_keys(model: nn.Module, preprocess: Preprocess) -> int:
    """The largest number of keys of the model's fused attention to an image."""
    was_training = model.training
    model.eval()
    try:
        image = torch.zeros(1, preprocess.channels, preprocess.image_size, preprocess.image_size)
        with _KeyCounter() as counter, autocast(image.device, "bfloat16"):
            model(image)
    finally:
        model.train(was_training)
    return counter.most


class _KeyCounter(TorchFunctionMode):
    """Notes the largest number of keys in calls of fused attention."""

    most = 0

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is functional.scaled_dot_product_attention:
            key: Tensor = args[1] if len(args) > 1 else kwargs["key"]
            self.most = max(self.most, key.shape[-2])
        return function(*args, **(kwargs or {}))
