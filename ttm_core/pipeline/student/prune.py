"""Cuts the student of a run out of its teacher."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ttm_core.models.pruning.graph import classifier_names
from ttm_core.models.pruning.search import cost, prune_in_steps
from ttm_core.models.students.from_teacher import teacher_weights
from ttm_core.models.students.start import build_student
from ttm_core.pipeline.context import RunContext
from ttm_core.pipeline.decisions.resolve import ResolvedRun
from ttm_core.pipeline.student.recover import recover, trainable_copy
from ttm_core.spec.structure import ModelStructure

_GRADIENT_IMAGES = 256
_BATCH = 32


def pruned_teacher(run: ResolvedRun, context: RunContext) -> tuple[ModelStructure, dict[str, Tensor]]:
    """The structure and the weights, on the CPU, of the teacher without its least important channels.

    Raises:
        BadSpec: the teacher cannot be pruned to the target.
        Interrupted: a stop was requested during recovery steps; there is no checkpoint yet.
    """
    spec = run.spec.student.prune
    assert spec is not None
    model, structure = whole_student(run, context)
    size = run.preprocess.image_size
    with context.activity("pruning the teacher"):
        pruned, found = prune_in_steps(
            model,
            structure,
            spec,
            size,
            compute_gradients=lambda model: compute_gradients(model, run, context),
            recover=lambda model, structure: recover(model, run, context, spec.recovery_steps),
        )
    before, after = cost(model, structure, spec, size), cost(pruned, found, spec, size)
    context.log(
        f"pruned {structure.architecture} from {before:,.0f} to {after:,.0f} {spec.kind} ({100 * after / before:.1f} %)"
    )
    return found, {name: value.cpu() for name, value in pruned.state_dict().items()}


def whole_student(run: ResolvedRun, context: RunContext) -> tuple[nn.Module, ModelStructure]:
    """The teacher with the dataset's classes and the student's input, in evaluation mode on the device.

    Raises:
        BadSpec: the teacher's layers are not accessible.
    """
    teacher = run.teachers[0]
    assert teacher.structure is not None, "student_base refuses a teacher without a structure"
    drop_path = run.spec.student.drop_path
    structure = teacher.structure.model_copy(
        update={
            "num_classes": run.dataset.num_classes,
            "image_size": run.preprocess.image_size,
            "options": {} if drop_path is None else {"drop_path_rate": drop_path},
        }
    )
    model = build_student(structure).eval()
    model.load_state_dict(teacher_weights(teacher, classifier_names(model)))
    return model.to(context.device), structure


def compute_gradients(model: nn.Module, run: ResolvedRun, context: RunContext) -> None:
    """Fills the gradients of the mean cross-entropy over training images; without labels, of the model's own
    predictions.
    """
    train = run.dataset.train
    split = train.with_label if train.labelled else train
    chosen = np.linspace(0, len(split) - 1, min(_GRADIENT_IMAGES, len(split))).round().astype(np.int64)
    copied = trainable_copy(model.eval(), run, context, "float32")
    for indices in np.array_split(split.indices[chosen], max(len(chosen) // _BATCH, 1)):
        pixels = split.images.center_squares(indices, run.preprocess.image_size).to(context.device)
        logits: Tensor = copied(run.preprocess(pixels))
        labels = split.labels[torch.from_numpy(indices)].to(context.device) if split.labelled else logits.argmax(1)
        loss = functional.cross_entropy(logits, labels, reduction="sum") / len(chosen)
        loss.backward()
    for parameter, computed in zip(model.parameters(), copied.parameters(), strict=True):
        parameter.grad = computed.grad
