"""Builds what a run trains: the student, the objective and the evaluator."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from ttm_core.hardware.adapt import adapt_to_device
from ttm_core.methods.build import Objective, build_objective
from ttm_core.models.students.freeze import freeze
from ttm_core.models.students.start import start_student
from ttm_core.pipeline.context import RunContext
from ttm_core.pipeline.decisions.resolve import ResolvedRun
from ttm_core.pipeline.student.initial import initial_student
from ttm_core.precision import resolved_precision, resolved_teacher_precision
from ttm_core.spec.structure import ModelStructure
from ttm_core.training.evaluate import Evaluator


@dataclass(frozen=True)
class Models:
    """The modules of a run, on its device."""

    student: nn.Module
    structure: ModelStructure  # of the student
    frozen: Sequence[nn.Module]  # parts of the student that stay in evaluation mode
    objective: Objective
    evaluator: Evaluator


def build_models(run: ResolvedRun, context: RunContext, resumed: dict[str, Any] | None) -> Models:
    """Builds the student with its initial weights, the method's objective and the evaluator.

    Args:
        run: the run.
        context: its surroundings.
        resumed: the content of the checkpoint that the weights will be loaded from, if there is one.

    Raises:
        EngineError: the student's checkpoint or the method does not fit the models or the data.
    """
    spec = run.spec
    with context.activity("building the models"):
        start = initial_student(run, context, resumed)
        student = start_student(
            start.structure,
            start.initialize,
            seed=spec.training.seed,
            device=context.device,
            memory_format=run.preprocess.memory_format,
        )
        precision = resolved_precision(spec.training)
        adapt_to_device(student, run.preprocess, context.device, precision, train=True)
        frozen = freeze(student, spec.student.freeze)
        objective = build_objective(
            spec,
            student=student,
            preprocess=run.preprocess,
            teacher=run.teachers[0] if run.teachers else None,
            split=run.dataset.train,
        ).to(context.device)
    return Models(student, start.structure, frozen, objective, build_evaluator(run, context))


def build_evaluator(run: ResolvedRun, context: RunContext) -> Evaluator:
    """The evaluator of the student and the teachers of a run."""
    dataset, training = run.dataset, run.spec.training
    assert dataset.validation is not None, "read_dataset holds images out where there is no validation split"
    return Evaluator(
        run.preprocess,
        run.teacher,
        dataset.validation,
        dataset.class_names,
        context.device,
        precision=resolved_precision(training),
        teacher_precision=resolved_teacher_precision(training),
        stores=context.stores,
    )
