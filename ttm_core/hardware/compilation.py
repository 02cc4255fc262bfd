"""torch.compile: whether a device can compile, whether it pays within a run, and compiled models.

Compiled shapes are fixed, because kernels for a range of shapes depend on the shapes that came first, and a resumed run
starts with others.

CUDA graphs start all kernels of a pass at once, for models that are so small that starting kernels takes most of the
time. They start the same kernels, so the result has the same bits, which the measurement verifies on the device.
"""

import copy
import logging
import os
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, cast

import torch
from torch import Tensor, nn

from ttm_core.errors import BadSpec
from ttm_core.hardware.adapt import adapt_to_device
from ttm_core.hardware.timing import least_seconds, synchronize
from ttm_core.models.preprocess import TORCH_FORMATS, Preprocess
from ttm_core.models.teachers.load import Teacher
from ttm_core.precision import Precision, autocast

log = logging.getLogger(__name__)

CompileMode = Literal["default", "reduce-overhead"]
"""A mode of torch.compile; "reduce-overhead" uses CUDA graphs."""

# Batches of training, evaluation and stored views, each with a smaller last batch, in two modes and two precisions.
_SHAPES = 64
_REPEATS = 3
# The first call with CUDA graphs runs without one, the second records it, and the others replay it.
_BATCHES = 4
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


def compiled(model: nn.Module, mode: CompileMode = "default") -> nn.Module:
    """A model that computes the same with compiled kernels. It shares the parameters of `model`, which is unchanged.

    With CUDA graphs, its outputs are overwritten by its next call, before which `begin_step` must be called.
    """
    _keep_all_shapes()
    return cast(nn.Module, torch.compile(model, dynamic=False, mode=mode))


def begin_step() -> None:
    """Declares that nothing reads the outputs of earlier calls of models with CUDA graphs any more."""
    torch.compiler.cudagraph_mark_step_begin()


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
    graphs_step: float | None = None  # compiled, with CUDA graphs; None where they are not used

    @property
    def best_mode(self) -> CompileMode:
        """The mode in which a compiled step is fastest."""
        return "default" if self.best_step == self.compiled_step else "reduce-overhead"

    @property
    def best_step(self) -> float:
        """The time of a compiled step, with CUDA graphs if they make it faster."""
        return self.compiled_step if self.graphs_step is None else min(self.compiled_step, self.graphs_step)

    def pays_within(self, steps: int) -> bool:
        """Whether a run of this number of steps is faster compiled."""
        return (self.eager_step - self.best_step) * steps > self.compile_seconds


def measure_step(
    model: nn.Module, preprocess: Preprocess, device: torch.device, precision: Precision, *, batch_size: int
) -> float:
    """The seconds of a training step that is not compiled: forward and backward passes of a copy of a student.

    Args:
        model: the student.
        preprocess: of its images.
        device: to measure on.
        precision: of the forward passes.
        batch_size: images per step.
    """
    with _own_random_numbers(device):
        step = partial(
            _step,
            _on_device(model, preprocess, device, precision),
            _images(batch_size, preprocess, device),
            precision,
        )
        return least_seconds({"step": step}, device, repeats=_REPEATS)["step"]


def measure_compilation(
    model: nn.Module,
    preprocess: Preprocess,
    device: torch.device,
    precision: Precision,
    *,
    batch_size: int,
    cuda_graphs: bool = False,
) -> Compilation:
    """Times forward and backward passes of copies of a student, with and without compilation.

    Args:
        model: the student.
        preprocess: of its images.
        device: to measure on.
        precision: of the forward passes.
        batch_size: images per step.
        cuda_graphs: whether to measure CUDA graphs, too. They are not used if they fail or change a bit.
    """
    adapted = _on_device(model, preprocess, device, precision)

    def copied() -> nn.Module:
        return copy.deepcopy(adapted)

    with _own_random_numbers(device):
        batches = [_images(batch_size, preprocess, device) for _ in range(_BATCHES)]
        ways: dict[str, Callable[[], object]] = {
            "eager": partial(_step, copied(), batches[0], precision),
            "compiled": partial(_step, compiled(copied()), batches[0], precision),
        }
        started = time.perf_counter()
        ways["compiled"]()
        synchronize(device)
        compile_seconds = time.perf_counter() - started
        if cuda_graphs:
            graphs = compiled(copied(), "reduce-overhead")
            if _equal_steps(compiled(copied()), graphs, batches, precision):
                ways["graphs"] = partial(_step, graphs, batches[0], precision)
        seconds = least_seconds(ways, device, repeats=_REPEATS)
    return Compilation(compile_seconds, seconds["eager"], seconds["compiled"], seconds.get("graphs"))


def _on_device(model: nn.Module, preprocess: Preprocess, device: torch.device, precision: Precision) -> nn.Module:
    """A copy of a student on the device, as it is trained."""
    copied = copy.deepcopy(model).to(device).to(memory_format=TORCH_FORMATS[preprocess.memory_format]).train()
    adapt_to_device(copied, preprocess, device, precision, train=True)
    return copied


def _images(count: int, preprocess: Preprocess, device: torch.device) -> Tensor:
    """Random images: float32 [count, C, S, S]."""
    shape = (count, preprocess.channels, preprocess.image_size, preprocess.image_size)
    return torch.randn(shape, device=device).contiguous(memory_format=TORCH_FORMATS[preprocess.memory_format])


def _own_random_numbers(device: torch.device) -> AbstractContextManager[None]:
    """Restores the state of the random number generators at the end."""
    return torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])


def _equal_steps(model: nn.Module, other: nn.Module, batches: Sequence[Tensor], precision: Precision) -> bool:
    """Whether steps of two models have equal bits: their logits, gradients and buffers. False if one fails."""
    try:
        return all(
            torch.equal(mine, others)
            for seed, x in enumerate(batches)
            for mine, others in zip(_seeded(model, x, precision, seed), _seeded(other, x, precision, seed), strict=True)
        )
    except Exception as error:  # of any type: CUDA graphs fail with those of the driver, the allocator and the compiler
        log.warning("CUDA graphs are not used: %s", str(error).strip().partition("\n")[0][:_LONGEST_REASON])
        return False


def _seeded(model: nn.Module, x: Tensor, precision: Precision, seed: int) -> list[Tensor]:
    """The logits of a step, its gradients and the buffers after it. Dropout depends on the seed."""
    torch.manual_seed(seed)
    logits = _step(model, x, precision)
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    return [tensor.clone() for tensor in (logits, *gradients, *model.buffers())]


def _step(model: nn.Module, x: Tensor, precision: Precision) -> Tensor:
    """A forward and a backward pass. Returns the logits."""
    model.zero_grad(set_to_none=True)
    begin_step()
    with autocast(x.device, precision):
        logits: Tensor = model(x)
    logits.float().square().mean().backward()
    return logits.detach()


def _probe(x: Tensor) -> Tensor:
    return x.sin() + 1


def _keep_all_shapes() -> None:
    """A model with more shapes than the limit would run uncompiled, depending on their order."""
    torch._dynamo.config.recompile_limit = _SHAPES
