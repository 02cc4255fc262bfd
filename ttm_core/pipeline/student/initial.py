"""The structure and the initial weights of a run's student."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from ttm_core.models.students.checkpoint import initialize_from
from ttm_core.models.students.inherit import inherit
from ttm_core.pipeline.context import RunContext
from ttm_core.pipeline.decisions.resolve import ResolvedRun
from ttm_core.pipeline.student.prune import pruned_teacher
from ttm_core.spec.structure import ModelStructure


@dataclass(frozen=True)
class InitialStudent:
    """A student before training."""

    structure: ModelStructure
    initialize: Callable[[nn.Module], object] | None = None  # replaces the random weights of a model


def initial_student(run: ResolvedRun, context: RunContext, resumed: dict[str, Any] | None) -> InitialStudent:
    """Determines the student that training starts from.

    A resumed run takes the structure from its checkpoint, since another machine might rank channels in another order.

    Raises:
        EngineError: the student's checkpoint does not fit, the teacher cannot be pruned, or has no
            weights for the student.
    """
    if resumed is not None:
        return InitialStudent(ModelStructure.model_validate(resumed["structure"]))
    if run.spec.student.prune is not None:
        structure, weights = context.distributed.run_on_main(lambda: pruned_teacher(run, context))
        return InitialStudent(structure, lambda model: model.load_state_dict(weights))
    structure = whole_structure(run)
    if run.spec.student.initialize is not None:
        return InitialStudent(structure, partial(inherit, teacher=run.teachers[0], architecture=structure.architecture))
    if run.student.checkpoint is not None:
        return InitialStudent(
            structure,
            partial(
                initialize_from,
                path=run.student.checkpoint,
                architecture=structure.architecture,
                key=run.spec.student.checkpoint_key,
            ),
        )
    return InitialStudent(structure)


def whole_structure(run: ResolvedRun) -> ModelStructure:
    """The structure of a student that is not cut out of its teacher."""
    drop_path = run.spec.student.drop_path
    return ModelStructure(
        architecture=run.student.architecture,
        num_classes=run.dataset.num_classes,
        in_chans=run.preprocess.channels,
        image_size=run.preprocess.image_size,
        options={} if drop_path is None else {"drop_path_rate": drop_path},
        pruning=run.student.pruning,
    )
