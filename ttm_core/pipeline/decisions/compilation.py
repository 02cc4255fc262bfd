"""Decides whether a run compiles its models."""

from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from ttm_core.errors import BadSpec
from ttm_core.hardware.compilation import Compilation, CompileMode, check_compiler, measure_compilation, measure_step
from ttm_core.models.build import build
from ttm_core.models.preprocess import Preprocess
from ttm_core.pipeline.context import RunContext
from ttm_core.pipeline.decisions.once import decide_once, measure_once
from ttm_core.precision import resolved_precision
from ttm_core.spec.structure import ModelStructure
from ttm_core.spec.training.training import TrainingSpec

_SHORT_SECONDS = 60.0
"""Of a run's steps without compilation. A measurement compiles, which takes about as long as it could save in such a
run."""


def resolve_compile_mode(
    training: TrainingSpec, context: RunContext, *, student: ModelStructure, preprocess: Preprocess, steps: int
) -> CompileMode | None:
    """The mode in which the student is compiled, None if models are not compiled: the spec's choice, else that of the
    first attempt. Measurements are kept in the data cache, so that equal runs on a machine choose alike.

    On a CPU, models are not compiled without a measurement: compilation took 35 to 92 s and changed the speed of a step
    by a factor of 0.86 to 1.03 (docs/performance.md). On a GPU, CUDA graphs, which change no bit, are measured as well.

    Args:
        training: resolved, except for this choice.
        context: the surroundings of the run.
        student: its structure.
        preprocess: of the student.
        steps: of the run.
    """
    if training.compile is False or context.device.type == "cpu":
        return "default" if training.compile is True else None
    mode: CompileMode | None = decide_once(
        context.workdir, "compile", lambda: _decide(training, context, student, preprocess, steps)
    )
    return mode


def _decide(
    training: TrainingSpec, context: RunContext, student: ModelStructure, preprocess: Preprocess, steps: int
) -> CompileMode | None:
    precision, device = resolved_precision(training), context.device
    batch_size = training.images_per_step // training.devices
    # Recorded steps reduce no gradients over processes, and overwrite gradients that accumulate.
    graphs = training.devices == 1 and training.gradient_accumulation == 1
    key = {
        "student": student.model_dump(mode="json"),
        "memory_format": preprocess.memory_format,
        "precision": precision,
        "tf32": training.tf32,
        "reproducible": training.reproducible,
        "batch_size": batch_size,
        "cuda_graphs": graphs,
    }

    def model() -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            return build(student)

    def step() -> float:
        return measure_step(model(), preprocess, device, precision, batch_size=batch_size)

    def compilation() -> dict[str, Any]:
        return asdict(
            measure_compilation(model(), preprocess, device, precision, batch_size=batch_size, cuda_graphs=graphs)
        )

    if training.compile == "auto":
        if measure_once(context.data_cache, device, "step", key, step) * steps < _SHORT_SECONDS:
            return None
        try:
            check_compiler(device)  # `true` was checked before the data was read
        except BadSpec as error:
            context.log(f"models are not compiled: {error.message}")
            return None
    found = Compilation(**measure_once(context.data_cache, device, "compilation", key, compilation))
    pays = training.compile is True or found.pays_within(steps)
    with_graphs = "" if found.graphs_step is None else f", with CUDA graphs {1000 * found.graphs_step:.1f} ms"
    context.log(
        f"models are {'' if pays else 'not '}compiled: a step takes {1000 * found.eager_step:.1f} ms, compiled "
        f"{1000 * found.compiled_step:.1f} ms{with_graphs}; compilation took {found.compile_seconds:.0f} s"
    )
    return found.best_mode if pays else None
