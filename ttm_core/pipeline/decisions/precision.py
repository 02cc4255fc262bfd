"""Decides the precision of a run."""

from functools import partial

from ttm_core.pipeline.context import RunContext
from ttm_core.pipeline.decisions.once import decide_once
from ttm_core.precision import choose_precision
from ttm_core.spec.job import DistillSpec


def resolve_precision(spec: DistillSpec, context: RunContext, architecture: str, channels: int) -> dict[str, object]:
    """The precisions of student and teacher: the spec's, else those of the first attempt, which may have run on another
    machine.
    """
    training = spec.training
    precision = training.precision
    if precision == "auto":
        choose = partial(choose_precision, context.device, architecture, channels=channels)
        precision = decide_once(context.workdir, "precision", choose)
    return {"precision": precision, "teacher_precision": training.teacher_precision or precision}
