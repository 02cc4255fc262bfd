"""The teacher stage of a study: computes the teacher's logits of all views, which its trials share."""

from contextlib import ExitStack

from ttm_core.pipeline.build import build_evaluator
from ttm_core.pipeline.context import RunContext
from ttm_core.pipeline.decisions.resolve import resolve_run
from ttm_core.pipeline.teacher_check import check_teacher
from ttm_core.pipeline.train import fill_stores, stored_teacher
from ttm_core.spec import events
from ttm_core.spec.job import DistillSpec
from ttm_core.training.trainer import Interrupted


def store_teacher_logits(spec: DistillSpec, context: RunContext) -> None:
    """Fills the stores of the teachers of a spec. Stores nothing where the worker keeps no logits.

    The teachers are measured first, so that a study fails with `teacher_at_chance` before they cost more.

    Raises:
        EngineError: the data or a teacher cannot be used.
        Interrupted: a stop was requested. Completed blocks persist.
    """
    run = resolve_run(spec, context)
    check_teacher(run, build_evaluator(run, context), context)
    training = run.spec.training
    views = run.views(context.device)
    with ExitStack() as stack:
        opened = [stack.enter_context(stored_teacher(run, teacher, views, context)) for teacher in run.teachers]
        stored = [each for each in opened if each is not None]
        context.on_event(
            events.Resolved(
                spec=run.spec,
                total_steps=0,
                train_images=len(run.dataset.train),
                unlabelled_images=len(run.dataset.train.without_label),
                validation_images=len(run.dataset.validation) if run.dataset.validation else 0,
                test_images=len(run.dataset.test) if run.dataset.test else 0,
                unreadable_images=len(run.dataset.unreadable),
                num_classes=run.dataset.num_classes,
                student_parameters=0,
                teacher_parameters=run.teacher.parameters if run.teacher else None,
                resumed_from_step=None,
                teacher_stores=list(dict.fromkeys(each.digest for each in stored)),
            )
        )
        for view in range(training.view_count):
            with context.activity("storing the teacher's logits"):
                for _ in fill_stores(stored, view, context):
                    if context.distributed.broadcast_flags(context.should_stop())[0]:
                        raise Interrupted(0)
        computed = sum(each.computed for each in stored)
    context.on_event(events.StageFinished(teacher_forwards=computed, teacher_cache_hits=0))
