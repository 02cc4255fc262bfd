"""A frozen model's batch norms folded into the convolutions before them: the same function in fewer passes."""

import copy
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

Pair = tuple[nn.Conv2d, nn.BatchNorm2d]


@torch.no_grad()
def fold_batch_norms(model: nn.Module, channels: int, size: int) -> nn.Module:
    """The model with each batch norm folded that reads a convolution's output, or the model itself where folding
    changes what it computes.

    Which norm reads which convolution is seen in one forward pass, since a model's code may run its modules in any
    order; that no other part reads the convolution's output, too, is tested by comparing logits.

    Args:
        model: in evaluation mode; [B, channels, size, size] -> [B, classes].
        channels: of its input.
        size: of its input, in pixels.
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
    apart = (folded(x) - before).abs().max()
    return folded if apart <= 1e-3 * before.abs().max() + 1e-5 else model


def _pairs(model: nn.Module, x: Tensor) -> list[Pair]:
    """Convolutions with the batch norm that reads their output as it came, both run once in a forward pass."""
    made: dict[int, tuple[nn.Conv2d, Tensor, int]] = {}  # by the id of an output, which is kept so that ids stay apart
    pairs: list[Pair] = []
    calls: dict[int, int] = {}

    def after_convolution(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(module, nn.Conv2d)
        calls[id(module)] = calls.get(id(module), 0) + 1
        made[id(output)] = module, output, output._version

    def before_norm(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(module, nn.BatchNorm2d)
        calls[id(module)] = calls.get(id(module), 0) + 1
        convolution, output, version = made.get(id(inputs[0]), (None, None, 0))
        # Another version has been changed in place since, by adding a shortcut for instance.
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
    assert norm.running_mean is not None, "only norms with statistics are folded"
    assert norm.running_var is not None, "only norms with statistics are folded"
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
                # timm's norms have their activation within.
                setattr(parent, name, getattr(child, "act", nn.Identity()))
