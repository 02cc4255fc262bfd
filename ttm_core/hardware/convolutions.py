"""Convolutions that compute the same as torch's, in ways that are faster on CPUs."""

from functools import cache
from typing import TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional

from ttm_core.models.preprocess import format_of

_LARGEST_FAST_KERNEL = 3
_FEWEST_IMAGES = 16  # for which products without padding are faster, at 2 x 2 pixels


def is_depthwise(module: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Whether a module is a convolution with filters for single channels, as MobileNet and ConvNeXt have."""
    return isinstance(module, nn.Conv2d) and 1 < module.groups == module.in_channels


def compute_slow_gradients_in_float32(model: nn.Module) -> None:
    """Changes the depthwise convolutions of a model, in place."""
    classes: dict[type[nn.Conv2d], type[nn.Conv2d]] = {}
    for module in model.modules():
        if is_depthwise(module):
            original = type(module)
            if original not in classes:
                classes[original] = type(original.__name__, (_Float32Gradients, original), {})
            module.__class__ = classes[original]


class _Float32Gradients(nn.Conv2d):
    """A depthwise convolution that computes in float32 where its bfloat16 gradients are slow.

    oneDNN 3.12 has no fast kernels for the gradients of depthwise convolutions with a stride, a dilation, several
    outputs per channel, kernels above 3 x 3 pixels, or inputs narrower than the kernel: they take 2 to 10 times as long
    as in float32. Of the others, and of forward passes alone, bfloat16 is faster.
    """

    def forward(self, input: Tensor) -> Tensor:  # torch's name
        """[B, C, H, W] -> [B, C', H', W'], as of the convolution."""
        if not torch.is_grad_enabled() or self._has_fast_gradients(input):
            return super().forward(input)
        with torch.autocast(input.device.type, enabled=False):
            return super().forward(input.float())

    def _has_fast_gradients(self, input: Tensor) -> bool:
        return (
            max(self.stride) == 1
            and max(self.dilation) == 1
            and max(self.kernel_size) <= _LARGEST_FAST_KERNEL
            and self.out_channels == self.in_channels
            and input.shape[-1] >= self.kernel_size[-1]
        )


def skip_padding_of_small_inputs(model: nn.Module) -> None:
    """Changes the padded dense convolutions of a model, in place."""
    for module in model.modules():
        if type(module) is nn.Conv2d and _pads_to_same_size(module):
            module.__class__ = _SmallInputs


def _pads_to_same_size(convolution: nn.Conv2d) -> bool:
    """Whether it is a dense convolution of 3 x 3 pixels that keeps the size of its input, but for a stride."""
    return (
        convolution.kernel_size == (3, 3)
        and convolution.groups == 1
        and max(convolution.dilation) == 1
        and convolution.padding in ((1, 1), "same")
        and convolution.padding_mode == "zeros"
    )


class _SmallInputs(nn.Conv2d):
    """A convolution of 3 x 3 pixels that computes inputs of at most 2 x 2 as a product of matrices without the zeros of
    the padding.

    The kernel covers such an input in each of its four places, so that the result is a product of 4 * 4 blocks of
    weights instead of 4 * 9, and an input of one pixel takes one instead of 9. Collecting the 16 blocks takes longer
    than that saves for a few images.
    """

    def forward(self, input: Tensor) -> Tensor:  # torch's name
        """[B, C, H, W] -> [B, C', H', W'], as of the convolution."""
        (rows, columns), (down, across) = input.shape[2:], self.stride
        # An exported graph has convolutions, and its batch may have any size.
        if (
            torch.compiler.is_exporting()
            or max(rows, columns) > 2
            or (max(rows, columns) == 2 and len(input) < _FEWEST_IMAGES)
        ):
            return super().forward(input)
        taps = _taps(rows, columns, down, across)
        outputs, channels = self.weight.shape[:2]
        weight, device = self.weight, input.device.type
        if torch.is_autocast_enabled(device):
            weight = weight.to(torch.get_autocast_dtype(device))
        blocks = weight.permute(0, 2, 3, 1).reshape(outputs, -1, channels).index_select(1, taps)
        places = len(taps) // (rows * columns)
        bias = None if self.bias is None else self.bias.repeat_interleave(places)
        pixels = input.permute(0, 2, 3, 1).flatten(1)
        found = functional.linear(pixels, blocks.view(outputs * places, -1), bias)
        shape = (len(input), outputs, -(-rows // down), -(-columns // across))
        return found.view(shape).contiguous(memory_format=format_of(input))


@cache
def _taps(rows: int, columns: int, down: int, across: int) -> Tensor:
    """The weights between all places of the result and all pixels of the input, in this order: int64 [places * pixels],
    numbers of the 9 weights of the kernel.
    """
    with torch.inference_mode(False):  # autograd cannot save tensors of inference mode
        vertical = torch.arange(rows) - torch.arange(0, rows, down)[:, None] + 1
        horizontal = torch.arange(columns) - torch.arange(0, columns, across)[:, None] + 1
        return (vertical[:, None, :, None] * 3 + horizontal[None, :, None, :]).flatten()
