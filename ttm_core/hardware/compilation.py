"""torch.compile: whether a device can compile, whether it pays within a run, and compiled models.

Compiled shapes are fixed, because kernels for a range of shapes depend on the shapes that came first, and a resumed run
starts with others.
"""

import copy
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import cast

import torch
from torch import nn

from ttm_core.errors import BadSpec
from ttm_core.hardware.timing import least_seconds, synchronize
from ttm_core.models.preprocess import TORCH_FORMATS, Preprocess
from ttm_core.models.teachers.load import Teacher
from ttm_core.precision import Precision, autocast

# Batches of training, evaluation and stored views, each with a smaller last batch, in two modes and two precisions.
_SHAPES = 64
_REPEATS = 3
_LONGEST_REASON = 300


def keep_kernels_in(folder: Path) -> None:
    """Keeps compiled kernels in a folder. The default is outside of what a worker's trainer may write to."""
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)


def check_compiler(device: torch.device) -> None:
    """Compiles a small function for the device.

    Raises:
        BadSpec: the device has no compiler, or it does not work.
    """
    try:
        torch.compile(_probe, dynamic=False)(torch.ones(8, device=device))
    except Exception as error:  # of any type: no compiler, no headers, no permission to start it
        reason = str(error).strip().partition("\n")[0][:_LONGEST_REASON]
        raise BadSpec(
            f"training.compile is true, but this worker cannot compile for {device.type}: {reason}. Install a C++ "
            "compiler (and Triton for a GPU), or set training.compile to false."
        ) from error


def compiled(model: nn.Module) -> nn.Module:
    """A model that computes the same with compiled kernels. It shares the parameters of `model`, which is unchanged."""
    _keep_all_shapes()
    return cast(nn.Module, torch.compile(model, dynamic=False))


def compiled_teacher(teacher: Teacher) -> Teacher:
    """The teacher with its model compiled in place. The names of its tensors do not change."""
    _keep_all_shapes()
    teacher.model.compile(dynamic=False)
    return replace(teacher, compiled=True)


@dataclass(frozen=True)
class Compilation:
    """The time of a training step with and without compilation, and of the compilation, in seconds."""

    compile_seconds: float
    eager_step: float
    compiled_step: float

    def pays_within(self, steps: int) -> bool:
        """Whether a run of this number of steps is faster compiled."""
        return (self.eager_step - self.compiled_step) * steps > self.compile_seconds


def measure_compilation(
    model: nn.Module, preprocess: Preprocess, device: torch.device, precision: Precision, *, batch_size: int
) -> Compilation:
    """Times forward and backward passes of copies of a student."""
    memory_format = TORCH_FORMATS[preprocess.memory_format]
    eager, other = (copy.deepcopy(model).to(device).to(memory_format=memory_format).train() for _ in range(2))
    shape = (batch_size, preprocess.channels, preprocess.image_size, preprocess.image_size)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        x = torch.randn(shape, device=device).contiguous(memory_format=memory_format)
        ways: dict[str, Callable[[], None]] = {
            "eager": partial(_step, eager, x, precision),
            "compiled": partial(_step, compiled(other), x, precision),
        }
        started = time.perf_counter()
        ways["compiled"]()
        synchronize(device)
        compile_seconds = time.perf_counter() - started
        seconds = least_seconds(ways, device, repeats=_REPEATS)
    return Compilation(compile_seconds, seconds["eager"], seconds["compiled"])


def _step(model: nn.Module, x: torch.Tensor, precision: Precision) -> None:
    with autocast(x.device, precision):
        logits: torch.Tensor = model(x)
    logits.float().square().mean().backward()


def _probe(x: torch.Tensor) -> torch.Tensor:
    return x.sin() + 1


def _keep_all_shapes() -> None:
    """A model with more shapes than the limit would run uncompiled, depending on their order."""
    torch._dynamo.config.recompile_limit = _SHAPES
