"""Measures how much of the teacher may remain for a pruned student to meet its latency."""

import copy
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import nn

from ttm_core.errors import BadSpec, MeasuringKilled
from ttm_core.export.onnx import write_unchecked
from ttm_core.models.pruning.latency import Timed, largest_within
from ttm_core.models.pruning.search import cost, prune_completely, prune_to_target
from ttm_core.pipeline.context import RunContext
from ttm_core.pipeline.decisions.once import decide_once
from ttm_core.pipeline.decisions.resolve import ResolvedRun
from ttm_core.pipeline.student.prune import compute_gradients, whole_student
from ttm_core.training.trainer import Interrupted
from ttm_measure import MeasureError, Measurement, measure

_RELATIVE_ERROR = 0.02
_SECONDS = 2.0
_FIELD = "student.prune.latency_ms"


@dataclass(frozen=True)
class _Decision:
    macs: float  # of the student, as a fraction of the teacher's
    ms: float
    teacher_ms: float
    cpu: str


def resolve_latency(run: ResolvedRun, context: RunContext) -> ResolvedRun:
    """The run with the `student.prune.macs` that meet `student.prune.latency_ms`, measured by its first attempt.

    Raises:
        BadSpec: the teacher meets the latency already, no student that is cut out of it does, or it cannot be measured.
        Interrupted: a stop was requested.
    """
    prune = run.spec.student.prune
    if prune is None or not prune.unmeasured:
        return run
    with context.activity("measuring pruned students"):
        found = context.distributed.run_on_main(
            lambda: decide_once(context.workdir, "prune_latency", lambda: asdict(_decide(run, context)))
        )
    decided = _Decision(**found)
    student = run.spec.student.model_copy(update={"prune": prune.model_copy(update={"macs": decided.macs})})
    reason = (
        f"The largest measured student that takes at most {prune.latency_ms:g} ms: {decided.ms:.3g} ms on "
        f"{decided.cpu}, where the teacher takes {decided.teacher_ms:.3g} ms."
    )
    return replace(
        run,
        spec=run.spec.model_copy(update={"student": student}),
        reasons={**run.reasons, "student.prune.macs": reason},
    )


def _decide(run: ResolvedRun, context: RunContext) -> _Decision:
    prune = run.spec.student.prune
    assert prune is not None
    assert prune.latency_ms is not None
    target, size = prune.latency_ms, run.preprocess.image_size
    model, structure = whole_student(run, context)
    if prune.importance == "taylor":
        compute_gradients(model, run, context)
    whole = cost(model, structure, prune, size)

    def time(model: nn.Module, fraction: float) -> Measurement:
        if context.should_stop():
            raise Interrupted(0)
        measured = _measure(model, run, context)
        context.log(f"{100 * fraction:.3g} % of the teacher's MACs take {measured.p50_ms:.3g} ms")
        return measured

    teacher = time(model, 1.0)
    if teacher.p50_ms <= target:
        raise BadSpec(
            f"{_FIELD}: there is nothing to prune, because the teacher takes {teacher.p50_ms:.3g} ms on "
            f"{teacher.cpu}. Set less than that, or limit `macs` or `parameters`."
        )
    smallest, smallest_structure = prune_completely(model, structure, prune, size)
    # Rounded up, so that the smallest student can be found again.
    least = math.ceil(cost(smallest, smallest_structure, prune, size) / whole * 1e6) / 1e6
    floor = Timed(least, time(smallest, least).p50_ms)
    if floor.ms > target:
        raise BadSpec(
            f"{_FIELD}: the smallest {structure.architecture} in multiples of {prune.round_to} channels takes "
            f"{floor.ms:.3g} ms on {teacher.cpu}. Raise the target, lower student.prune.round_to, or choose a smaller "
            "architecture as the student."
        )

    def ms(fraction: float) -> float:
        pruned, _ = prune_to_target(model, structure, prune, fraction, whole, size)
        return time(pruned, fraction).p50_ms

    found = largest_within(target, floor, Timed(1.0, teacher.p50_ms), ms)
    return _Decision(found.fraction, found.ms, teacher.p50_ms, teacher.cpu)


def _measure(model: nn.Module, run: ResolvedRun, context: RunContext) -> Measurement:
    with TemporaryDirectory(dir=context.workdir) as folder:
        path = Path(folder) / "student.onnx"
        try:
            write_unchecked(copy.deepcopy(model).cpu().float(), run.preprocess, path)
        except Exception as error:  # the exporter raises any exception for operators it does not support
            raise BadSpec(
                f"{_FIELD}: the student cannot be exported to ONNX ({type(error).__name__}). Limit `macs` or "
                "`parameters` instead."
            ) from error
        try:
            return measure(path, relative_error=_RELATIVE_ERROR, seconds=_SECONDS)
        except MeasureError as error:
            if error.code == "killed":
                raise MeasuringKilled(error.message) from error
            raise BadSpec(f"{_FIELD}: {error.message}. Limit `macs` or `parameters` instead.") from error
