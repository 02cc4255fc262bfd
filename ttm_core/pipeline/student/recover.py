"""A few training steps of a pruned model, before it is pruned further."""

import copy
from itertools import islice, repeat

import torch
from torch import nn

from ttm_core.data.batches import finished, prepared_batches
from ttm_core.data.random import seed as derived_seed
from ttm_core.hardware.adapt import adapt_to_device
from ttm_core.methods.build import StepContext, build_objective
from ttm_core.pipeline.context import RunContext
from ttm_core.pipeline.decisions.resolve import ResolvedRun
from ttm_core.precision import Precision, resolved_precision, resolved_teacher_precision
from ttm_core.training.devices import seed_generators
from ttm_core.training.distiller import Distiller, TeacherSource
from ttm_core.training.distributed import ONE_PROCESS
from ttm_core.training.optimizers import build_optimizer, resolved_learning_rate, set_learning_rate
from ttm_core.training.trainer import Interrupted

_STEP_SEED = 303  # random stream of dropout in recovery steps


def trainable_copy(model: nn.Module, run: ResolvedRun, context: RunContext, precision: Precision) -> nn.Module:
    """A copy to compute gradients with, without any yet. Pruning follows the operations of the model itself, which
    therefore are not adapted to the device.
    """
    copied = copy.deepcopy(model).requires_grad_(True)
    copied.zero_grad()
    adapt_to_device(copied, run.preprocess, context.device, precision, train=True)
    return copied


def recover(model: nn.Module, run: ResolvedRun, context: RunContext, steps: int) -> None:
    """Trains a model in place with the method and optimizer of the run. The learning rate falls linearly to 0.

    The teacher runs online. A step depends only on its number and the spec.

    Raises:
        Interrupted: a stop was requested.
    """
    spec, training = run.spec, run.spec.training
    teacher = run.teachers[0]
    student = trainable_copy(model, run, context, resolved_precision(training)).train()
    objective = build_objective(
        spec, student=student, preprocess=run.preprocess, teacher=teacher, split=run.dataset.train
    ).to(context.device)
    distiller = Distiller(
        student=student,
        preprocess=run.preprocess,
        objective=objective.train(),
        teachers=[TeacherSource(teacher)] if spec.method.requirements.teacher else [],
        device=context.device,
        precision=resolved_precision(training),
        teacher_precision=resolved_teacher_precision(training),
    )
    optimizer = build_optimizer(training.optimizer, student, objective)
    views = run.views(context.device)
    batches = (
        batch
        for epoch, view in enumerate(repeat(0))
        for batch in prepared_batches(
            views,
            seed=training.seed,
            epoch=epoch,
            view=view,
            batch_size=training.images_per_step,
            first=0,
            unlabelled_ratio=training.unlabelled_ratio,
            distributed=ONE_PROCESS,
        )
    )
    for step, batch in enumerate(finished(views, islice(batches, steps))):
        if context.should_stop():
            raise Interrupted(0)
        set_learning_rate(optimizer, resolved_learning_rate(training.optimizer) * (1 - step / steps))
        seed = derived_seed(_STEP_SEED, training.seed, step)
        seed_generators(distiller.device, seed)
        generator = torch.Generator().manual_seed(seed)
        terms = distiller(batch, StepContext(0.0, generator))
        torch.stack(list(terms.values())).sum().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    model.load_state_dict(student.state_dict())
