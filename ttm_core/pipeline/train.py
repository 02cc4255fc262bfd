"""The training stage of a run: measures the teacher, opens its stores, estimates the run and trains the student."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import nn

from ttm_core.data.dataset import Split
from ttm_core.data.views import Views
from ttm_core.models.teachers.load import Teacher
from ttm_core.pipeline import checkpoint
from ttm_core.pipeline.build import Models
from ttm_core.pipeline.context import RunContext
from ttm_core.pipeline.decisions.resolve import ResolvedRun
from ttm_core.pipeline.estimate import Stopwatch, Workload, estimate
from ttm_core.pipeline.teacher_check import check_teacher
from ttm_core.precision import resolved_precision, resolved_teacher_precision
from ttm_core.spec import events
from ttm_core.teacher_store.store import Stores
from ttm_core.teacher_store.stored_teacher import StoredTeacher, open_stored_teacher
from ttm_core.training.distiller import Distiller, TeacherSource
from ttm_core.training.trainer import Best, Trainer


@dataclass(frozen=True)
class TrainedStudent:
    """The outcome of training."""

    best: Best
    steps: int
    teacher_validation: events.Accuracy | None
    estimate: events.Estimate
    training_seconds: float  # over all attempts
    teacher_forwards: int | None  # None without a teacher store
    teacher_cache_hits: int | None


def train_student(
    run: ResolvedRun, models: Models, context: RunContext, resumed: dict[str, Any] | None
) -> TrainedStudent:
    """Trains the student to the end, from the beginning or from a checkpoint.

    Args:
        run: the run.
        models: its models.
        context: its surroundings.
        resumed: the content of the checkpoint to continue from.

    Raises:
        TeacherAtChance: the teacher is no better than chance, and the spec does not allow that.
        Interrupted: a stop was requested, or the run pauses itself after an epoch; a checkpoint is saved.
        NonFiniteLoss: the loss became NaN or infinite.
    """
    teacher_validation = _teacher_validation(run, models, context, resumed)
    dataset, training = run.dataset, run.spec.training
    views = run.views(context.device)
    with ExitStack() as stack:
        with context.activity("opening the teacher store"):
            sources = teacher_sources(run, views, context, stack)
        stored = [source.stored for source in sources if source.stored is not None]
        writer = stack.enter_context(checkpoint.CheckpointWriter(context.workdir / "checkpoints"))

        def validate(student: nn.Module) -> events.Accuracy:
            with context.activity("validating"):
                return models.evaluator.validate(student, context.distributed)

        def save(trainer: Trainer) -> None:
            if context.distributed.is_main:
                _save_checkpoint(trainer, run, models, teacher_validation, stopwatch, context, writer)

        def should_stop() -> bool:
            writer.raise_failure()
            return context.should_stop()

        trainer = Trainer(
            distiller=Distiller(
                student=models.student,
                preprocess=run.preprocess,
                objective=models.objective,
                teachers=sources if run.spec.method.requirements.teacher else [],
                device=context.device,
                precision=resolved_precision(training),
                teacher_precision=resolved_teacher_precision(training),
                compile_mode=run.compile_mode,
            ),
            spec=training,
            split=dataset.train,
            views=views,
            frozen=models.frozen,
            validate=validate,
            save=save,
            prepare_view=lambda view: fill_stores(stored, view, context),
            on_event=context.on_event,
            should_stop=should_stop,
            distributed=context.distributed,
            pause_after_epoch=context.options.pause_after_epoch,
        )
        if resumed is not None:
            trainer.load_state(resumed["trainer"])
        with context.activity("estimating the run"):
            stopwatch = _stopwatch(trainer, views, models.evaluator.validation, stored, resumed, context)
        context.on_event(_resolved(run, models, trainer, stored, stopwatch.estimate, resumed is not None))
        context.phase("training")
        trainer.train()
        training_seconds = stopwatch.seconds

    counts = torch.tensor([sum(each.computed for each in stored), sum(each.read for each in stored)])
    computed, read = context.distributed.all_reduce(counts).tolist()
    return TrainedStudent(
        best=trainer.best,
        steps=trainer.step,
        teacher_validation=teacher_validation,
        estimate=stopwatch.estimate,
        training_seconds=training_seconds,
        teacher_forwards=computed if stored else None,
        teacher_cache_hits=max(read - computed, 0) if stored else None,
    )


def _teacher_validation(
    run: ResolvedRun, models: Models, context: RunContext, resumed: dict[str, Any] | None
) -> events.Accuracy | None:
    """The teacher's validation accuracy, measured before the student costs any compute."""
    if resumed is not None:
        saved = resumed["teacher_validation"]
        return None if saved is None else events.Accuracy.model_validate(saved)
    return check_teacher(run, models.evaluator, context)


def teacher_sources(run: ResolvedRun, views: Views, context: RunContext, stack: ExitStack) -> list[TeacherSource]:
    """The teachers of a run, with their stores."""
    return [
        TeacherSource(teacher, stack.enter_context(stored_teacher(run, teacher, views, context)), spec.weight)
        for spec, teacher in zip(run.spec.all_teachers, run.teachers, strict=True)
    ]


def stored_teacher(
    run: ResolvedRun, teacher: Teacher, views: Views, context: RunContext
) -> AbstractContextManager[StoredTeacher | None]:
    """The teacher's store; None where its logits are not stored."""
    training = run.spec.training
    if training.teacher_logits != "stored":
        return nullcontext()
    return open_stored_teacher(
        context.stores or Stores(context.workdir / "cache" / "teacher-stores"),
        teacher,
        views,
        count=training.view_count,
        device=context.device,
        precision=resolved_teacher_precision(training),
        encoding=training.stored_as,
        distributed=context.distributed,
    )


def fill_stores(stored: Sequence[StoredTeacher], view: int, context: RunContext) -> Iterator[None]:
    """Fills the stores for a view. Only the first view has a caching_teacher phase; later ones belong to training."""
    first = not any(each.computed for each in stored)
    for count, _ in enumerate(chain.from_iterable(each.fill(view) for each in stored)):
        if first and count == 0:
            context.phase("caching_teacher")
        yield
    if first and any(each.computed for each in stored):
        context.phase("training")


def _save_checkpoint(
    trainer: Trainer,
    run: ResolvedRun,
    models: Models,
    teacher_validation: events.Accuracy | None,
    stopwatch: Stopwatch,
    context: RunContext,
    writer: checkpoint.CheckpointWriter,
) -> None:
    """Starts to save a checkpoint; its event is emitted when it is durable."""
    step, epoch, best_step = trainer.step, trainer.step // trainer.steps_per_epoch, trainer.best_step
    state = {
        "run": run.hash,
        "structure": models.structure.model_dump(mode="json"),
        "trainer": trainer.state(),
        "teacher_validation": teacher_validation and teacher_validation.model_dump(),
        "estimate": stopwatch.estimate.model_dump(),
        "seconds": stopwatch.seconds,
    }

    def report(saved: checkpoint.SavedCheckpoint) -> None:
        context.on_event(saved_event(saved, context, step=step, epoch=epoch, best=step == best_step))

    writer.save(step, state, best_step=best_step, on_saved=report)


def saved_event(
    saved: checkpoint.SavedCheckpoint, context: RunContext, *, step: int, epoch: int, best: bool
) -> events.CheckpointSaved:
    return events.CheckpointSaved(
        step=step,
        epoch=epoch,
        path=str(saved.path.relative_to(context.workdir)),
        sha256=saved.sha256,
        size=saved.size,
        best=best,
    )


def _stopwatch(
    trainer: Trainer,
    views: Views,
    validation: Split,
    stored: Sequence[StoredTeacher],
    resumed: dict[str, Any] | None,
    context: RunContext,
) -> Stopwatch:
    if resumed is not None:
        return Stopwatch(events.Estimate.model_validate(resumed["estimate"]), resumed["seconds"])
    workload = Workload(
        steps=trainer.total_steps,
        validation_images=trainer.spec.epoch_count * len(validation),
        store_rows=sum(each.missing for each in stored),
        store_bytes=sum(each.bytes for each in stored),
    )
    return Stopwatch(estimate(trainer.distiller, views, trainer.spec, workload, context.distributed))


def _resolved(
    run: ResolvedRun,
    models: Models,
    trainer: Trainer,
    stored: Sequence[StoredTeacher],
    estimate: events.Estimate,
    resumed: bool,
) -> events.Resolved:
    dataset = run.dataset
    return events.Resolved(
        spec=run.spec,
        total_steps=trainer.total_steps,
        train_images=len(dataset.train),
        unlabelled_images=len(dataset.train.without_label),
        validation_images=len(dataset.validation) if dataset.validation else 0,
        test_images=len(dataset.test) if dataset.test else 0,
        unreadable_images=len(dataset.unreadable),
        num_classes=dataset.num_classes,
        student_parameters=sum(parameter.numel() for parameter in trainer.student.parameters()),
        teacher_parameters=run.teacher.parameters if run.teacher else None,
        estimate=estimate,
        student_structure=models.structure,
        reasons=dict(run.reasons),
        resumed_from_step=trainer.step if resumed else None,
        teacher_stores=list(dict.fromkeys(each.digest for each in stored)),
    )
