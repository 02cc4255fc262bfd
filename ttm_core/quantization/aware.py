"""Quantization-aware fine-tuning: trains a fake-quantized student with the run's method and stored teacher logits."""

from contextlib import ExitStack

from torch import nn

from ttm_core.data.views import Views
from ttm_core.export.formats.int8 import Tune
from ttm_core.export.onnx import without_normalization
from ttm_core.methods.build import build_objective
from ttm_core.pipeline.context import RunContext
from ttm_core.pipeline.decisions.resolve import ResolvedRun
from ttm_core.pipeline.train import fill_stores, stored_teacher
from ttm_core.precision import resolved_teacher_precision
from ttm_core.spec import events
from ttm_core.spec.job import DistillSpec
from ttm_core.spec.optimizer.optimizers import Cosine
from ttm_core.training.distiller import Distiller, TeacherSource
from ttm_core.training.distributed import Distributed
from ttm_core.training.evaluate import evaluate
from ttm_core.training.trainer import Interrupted, Trainer

# Of the run's learning rate. The student has converged; larger steps undo its training.
_LEARNING_RATE_SHARE = 0.05


def build_tuner(run: ResolvedRun, context: RunContext, steps: int) -> Tune:
    """The fine-tuning of a run: its method without feature losses, its views, and its stored logits.

    Runs in the main process only, in float32, without a moving average. It has no checkpoints: an interrupted run
    repeats it, with the same result. `steps` is the number of steps of the run, which an interruption reports.
    """

    def tune(student: nn.Module) -> None:
        student.to(context.device)
        with ExitStack() as stack:
            trainer = _trainer(run, context, student, stack)
            try:
                trainer.train()
            except Interrupted:
                raise Interrupted(steps) from None
        student.load_state_dict(trainer.best.weights)
        student.eval().cpu()

    return tune


def _trainer(run: ResolvedRun, context: RunContext, student: nn.Module, stack: ExitStack) -> Trainer:
    spec, dataset, size = _spec(run.spec), run.dataset, run.preprocess.image_size
    pixels = without_normalization(run.preprocess)
    views = Views(dataset.train, dataset.num_classes, run.augmentation, size, spec.training.view_seed)
    sources = [
        TeacherSource(teacher, stack.enter_context(stored_teacher(run, teacher, views, context)), each.weight)
        for each, teacher in zip(spec.all_teachers, run.teachers, strict=True)
    ]
    stored = [source.stored for source in sources if source.stored is not None]
    objective = build_objective(
        spec,
        student=student,
        preprocess=pixels,
        teacher=run.teachers[0] if run.teachers else None,
        split=dataset.train,
    ).to(context.device)
    validation = dataset.validation
    assert validation is not None, "read_dataset holds images out where there is no validation split"

    def validate(candidate: nn.Module) -> events.Accuracy:
        found = evaluate(candidate, validation, pixels, size=size, device=context.device)
        context.log(f"quantization-aware training: validation top-1 {found.top1:.2%}")
        return found

    return Trainer(
        distiller=Distiller(
            student=student,
            preprocess=pixels,
            objective=objective,
            teachers=sources if spec.method.requirements.teacher else [],
            device=context.device,
            precision="float32",
            teacher_precision=resolved_teacher_precision(run.spec.training),
        ),
        spec=spec.training,
        split=dataset.train,
        views=views,
        frozen=[],
        validate=validate,
        save=lambda trainer: None,
        prepare_view=lambda view: fill_stores(stored, view, context),
        on_event=_ignore,  # its steps are not the run's
        should_stop=context.should_stop,
        distributed=Distributed(),
    )


def _spec(spec: DistillSpec) -> DistillSpec:
    """The spec of the fine-tuning."""
    optimizer = spec.training.optimizer
    slower = optimizer.model_copy(update={"learning_rate": optimizer.learning_rate * _LEARNING_RATE_SHARE})
    training = spec.training.model_copy(
        update={
            "epochs": spec.quantize.epochs,
            # Views that the run has used, so that their logits are stored.
            "views": spec.training.view_count,
            "optimizer": slower,
            "schedule": Cosine(),
            "ema": None,
            "early_stopping_patience": None,
            "precision": "float32",
            "devices": 1,
        }
    )
    method = spec.method
    if getattr(method, "features", None) is not None:
        method = method.model_copy(update={"features": None})
    return spec.model_copy(update={"training": training, "method": method})


def _ignore(event: events.Event) -> None:
    """Discards the events of the fine-tuning."""
