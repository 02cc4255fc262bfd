"""Decides whether a run compiles its models."""

from collections.abc import Callable
from typing import cast

import torch

from ttm_core.errors import BadSpec
from ttm_core.hardware.compilation import Compilation, check_compiler, measure_compilation
from ttm_core.models.build import build
from ttm_core.models.preprocess import Preprocess
from ttm_core.pipeline.context import RunContext
from ttm_core.pipeline.decisions.once import decide_once
from ttm_core.precision import resolved_precision
from ttm_core.spec.structure import ModelStructure
from ttm_core.spec.training.training import TrainingSpec


def resolve_compilation(
    training: TrainingSpec, context: RunContext, *, student: ModelStructure, preprocess: Preprocess, steps: int
) -> bool:
    """Whether models are compiled: the spec's choice, else that of the first attempt.

    On a CPU, the answer is no without a measurement: compilation took 35 to 92 s and changed the speed of a step by a
    factor of 0.86 to 1.03 (docs/performance.md).

    Args:
        training: resolved, except for this choice.
        context: the surroundings of the run.
        student: its structure.
        preprocess: of the student.
        steps: of the run.
    """
    if training.compile != "auto":
        return training.compile

    def measure() -> Compilation:
        with torch.random.fork_rng(devices=[]):
            model = build(student)
        precision = resolved_precision(training)
        batch_size = training.images_per_step // training.devices
        return measure_compilation(model, preprocess, context.device, precision, batch_size=batch_size)

    return cast(bool, decide_once(context.workdir, "compile", lambda: _decide(context, steps, measure)))


def _decide(context: RunContext, steps: int, measure: Callable[[], Compilation]) -> bool:
    if context.device.type == "cpu":
        return False
    try:
        check_compiler(context.device)
        found = measure()
    except BadSpec as error:
        context.log(f"models are not compiled: {error.message}")
        return False
    pays = found.pays_within(steps)
    context.log(
        f"models are {'' if pays else 'not '}compiled: a step takes {1000 * found.eager_step:.1f} ms, compiled "
        f"{1000 * found.compiled_step:.1f} ms; compilation took {found.compile_seconds:.0f} s"
    )
    return pays
