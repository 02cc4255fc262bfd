"""Decides the precision of a run."""

from ttm_core.pipeline.context import RunContext
from ttm_core.pipeline.decisions.once import decide_once
from ttm_core.precision import choose_precision
from ttm_core.spec.job import DistillSpec


def resolve_precision(spec: DistillSpec, context: RunContext) -> dict[str, object]:
    """The precisions of student and teacher: the spec's, else those of the first attempt, which may have run on another
    machine.
    """
    training = spec.training
    precision = training.precision
    if precision == "auto":
        precision = decide_once(context.workdir, "precision", lambda: choose_precision(context.device))
    return {"precision": precision, "teacher_precision": training.teacher_precision or precision}
