"""Decides whether a run compiles its models."""

from collections.abc import Callable

import torch

from ttm_core.errors import BadSpec
from ttm_core.hardware.compilation import Compilation, CompileMode, check_compiler, measure_compilation
from ttm_core.models.build import build
from ttm_core.models.preprocess import Preprocess
from ttm_core.pipeline.context import RunContext
from ttm_core.pipeline.decisions.once import decide_once
from ttm_core.precision import resolved_precision
from ttm_core.spec.structure import ModelStructure
from ttm_core.spec.training.training import TrainingSpec


def resolve_compile_mode(
    training: TrainingSpec, context: RunContext, *, student: ModelStructure, preprocess: Preprocess, steps: int
) -> CompileMode | None:
    """The mode in which the student is compiled, None if models are not compiled: the spec's choice, else that of the
    first attempt.

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

    def measure() -> Compilation:
        with torch.random.fork_rng(devices=[]):
            model = build(student)
        return measure_compilation(
            model,
            preprocess,
            context.device,
            resolved_precision(training),
            batch_size=training.images_per_step // training.devices,
            # Recorded steps reduce no gradients over processes, and overwrite gradients that accumulate.
            cuda_graphs=training.devices == 1 and training.gradient_accumulation == 1,
        )

    mode: CompileMode | None = decide_once(
        context.workdir, "compile", lambda: _decide(training, context, steps, measure)
    )
    return mode


def _decide(
    training: TrainingSpec, context: RunContext, steps: int, measure: Callable[[], Compilation]
) -> CompileMode | None:
    if training.compile == "auto":  # `true` was checked before the data was read
        try:
            check_compiler(context.device)
        except BadSpec as error:
            context.log(f"models are not compiled: {error.message}")
            return None
    found = measure()
    pays = training.compile is True or found.pays_within(steps)
    graphs = "" if found.graphs_step is None else f", with CUDA graphs {1000 * found.graphs_step:.1f} ms"
    context.log(
        f"models are {'' if pays else 'not '}compiled: a step takes {1000 * found.eager_step:.1f} ms, compiled "
        f"{1000 * found.compiled_step:.1f} ms{graphs}; compilation took {found.compile_seconds:.0f} s"
    )
    return found.best_mode if pays else None
