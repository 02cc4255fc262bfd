"""The memory format of images and convolutions, NCHW or NHWC, and which of them is faster for a model."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import nn

from ttm_core.hardware.timing import least_seconds
from ttm_core.models.preprocess import TORCH_FORMATS, Preprocess
from ttm_core.models.teachers.load import Teacher
from ttm_core.precision import Precision, autocast
from ttm_core.spec.training.training import MemoryFormat

# Relative speed does not change with the size of the batch above a few images.
_IMAGES = 16
_REPEATS = 4
TIMED_IMAGES = len(TORCH_FORMATS) * (_REPEATS + 1) * _IMAGES
"""Forward passes of one image, or training steps of one image, that a choice takes."""

# channels_last wins on most machines, and equal machines should choose alike where both are about equally fast.
_CLEARLY_FASTER = 1.1


def choose_memory_format(
    models: Sequence[tuple[nn.Module, Preprocess]], device: torch.device, precision: Precision, *, train: bool
) -> MemoryFormat:
    """The faster format for copies of models that process the same images: channels_last unless contiguous is at least
    10 % faster.

    Args:
        models: with their inputs.
        device: of the run.
        precision: of the forward passes.
        train: whether to time forward and backward passes, or forward passes alone.
    """
    if not any(_depends_on_format(model) for model, _ in models):
        return "channels_last"
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        ways = {name: partial(_call_all, _copies(models, device, precision, name, train)) for name in TORCH_FORMATS}
        seconds = least_seconds(ways, device, repeats=_REPEATS)
    return "contiguous" if seconds["contiguous"] * _CLEARLY_FASTER < seconds["channels_last"] else "channels_last"


def in_memory_format(teacher: Teacher, memory_format: MemoryFormat) -> Teacher:
    """The teacher with its model, which is changed in place, and its input in a format."""
    teacher.model.to(memory_format=TORCH_FORMATS[memory_format])
    return replace(teacher, preprocess=replace(teacher.preprocess, memory_format=memory_format))


def _depends_on_format(model: nn.Module) -> bool:
    """Whether there are several convolutions. The format of the only one of a vision transformer does not matter."""
    return sum(isinstance(module, nn.Conv2d) for module in model.modules()) > 1


def _copies(
    models: Sequence[tuple[nn.Module, Preprocess]],
    device: torch.device,
    precision: Precision,
    name: MemoryFormat,
    train: bool,
) -> list[Callable[[], None]]:
    """Calls of each model with random images."""
    memory_format = TORCH_FORMATS[name]
    calls: list[Callable[[], None]] = []
    for model, preprocess in models:
        copied = copy.deepcopy(model).to(device).to(memory_format=memory_format).train(train)
        shape = (_IMAGES, preprocess.channels, preprocess.image_size, preprocess.image_size)
        x = torch.randn(shape, device=device).contiguous(memory_format=memory_format)
        calls.append(partial(_call, copied, x, precision, train))
    return calls


def _call_all(calls: Sequence[Callable[[], None]]) -> None:
    for call in calls:
        call()


def _call(model: nn.Module, x: torch.Tensor, precision: Precision, train: bool) -> None:
    with torch.set_grad_enabled(train), autocast(x.device, precision):
        logits: torch.Tensor = model(x)
    if train:
        model.zero_grad(set_to_none=True)
        logits.float().square().mean().backward()
