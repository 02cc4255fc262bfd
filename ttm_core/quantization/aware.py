"""Quantization-aware fine-tuning: trains a fake-quantized student with the run's method and stored teacher logits."""

from contextlib import ExitStack

from torch import nn

from ttm_core.data.batches import images_per_epoch, steps_per_epoch
from ttm_core.export.formats.int8 import Tune
from ttm_core.export.onnx import without_normalization
from ttm_core.methods.build import build_objective
from ttm_core.models.weights import hash_tensors
from ttm_core.pipeline import checkpoint
from ttm_core.pipeline.context import RunContext
from ttm_core.pipeline.decisions.resolve import ResolvedRun
from ttm_core.pipeline.train import fill_stores, saved_event, teacher_sources
from ttm_core.precision import resolved_teacher_precision
from ttm_core.spec import events
from ttm_core.spec.job import DistillSpec
from ttm_core.spec.method.methods import MethodSpec
from ttm_core.spec.method.schedules import Ramp, at
from ttm_core.spec.optimizer.optimizers import Cosine
from ttm_core.training.distiller import Distiller
from ttm_core.training.distributed import ONE_PROCESS
from ttm_core.training.evaluate import evaluate
from ttm_core.training.optimizers import resolved_learning_rate
from ttm_core.training.trainer import Interrupted, Trainer

# Of the run's learning rate. The student has converged; larger steps undo its training.
_LEARNING_RATE_SHARE = 0.05


def build_tuner(run: ResolvedRun, context: RunContext, steps: int) -> Tune:
    """The fine-tuning of a run: its method without feature losses, its views, and its stored logits.

    Runs in the main process only, in float32, without a moving average. Its checkpoints are those of the finished run
    with the state of the fine-tuning; their steps count on from `steps`, the number of steps of the run.
    """

    def tune(student: nn.Module) -> None:
        start = hash_tensors(student.state_dict())
        student.to(context.device)
        with ExitStack() as stack:
            checkpoints = _Checkpoints(run, context, steps, start, stack)
            trainer = _trainer(run, context, _spec(run, steps), student, checkpoints, stack)
            checkpoints.restore(trainer)
            try:
                trainer.train()
            except Interrupted:
                raise Interrupted(steps) from None
        student.load_state_dict(trainer.best.weights)
        student.eval().cpu()

    return tune


class _Checkpoints:
    """Saves and restores the fine-tuning of the student with the tensor hash `start`.

    Another student, which an earlier attempt on another machine may have had, is trained from its beginning.
    """

    def __init__(self, run: ResolvedRun, context: RunContext, steps: int, start: str, stack: ExitStack) -> None:
        folder = context.workdir / "checkpoints"
        self._context, self._steps, self._start, self._epochs = context, steps, start, run.spec.training.epoch_count
        self._run_state = checkpoint.load_newest(folder, run=run.hash)
        self._writer = stack.enter_context(checkpoint.CheckpointWriter(folder))

    def restore(self, trainer: Trainer) -> None:
        saved = self._run_state and self._run_state.get("aware")
        if saved and saved["start"] == self._start:
            trainer.load_state(saved["trainer"])
            self._context.log(f"quantization-aware training resumes from step {trainer.step}")

    def save(self, trainer: Trainer) -> None:
        """Starts to save a checkpoint; its event is emitted when it is durable."""
        if self._run_state is None:  # the disk lost it
            return
        state = {**self._run_state, "aware": {"start": self._start, "trainer": trainer.state()}}
        step, epoch = self._steps + trainer.step, self._epochs + trainer.step // trainer.steps_per_epoch

        def report(saved: checkpoint.SavedCheckpoint) -> None:
            self._context.on_event(saved_event(saved, self._context, step=step, epoch=epoch, best=False))

        self._writer.save(step, state, best_step=None, on_saved=report)

    def should_stop(self) -> bool:
        """Whether a stop was requested. Raises the error of a checkpoint that could not be saved."""
        self._writer.raise_failure()
        return self._context.should_stop()


def _trainer(
    run: ResolvedRun,
    context: RunContext,
    spec: DistillSpec,
    student: nn.Module,
    checkpoints: _Checkpoints,
    stack: ExitStack,
) -> Trainer:
    dataset, size = run.dataset, run.preprocess.image_size
    pixels = without_normalization(run.preprocess)
    views = run.views(context.device)
    sources = teacher_sources(run, views, context, stack)
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
        save=checkpoints.save,
        prepare_view=lambda view: fill_stores(stored, view, context),
        on_event=_ignore,  # its steps are not the run's
        should_stop=checkpoints.should_stop,
        distributed=ONE_PROCESS,
    )


def _spec(run: ResolvedRun, steps: int) -> DistillSpec:
    """The spec of the fine-tuning after `steps` steps of the run."""
    spec, clipping = run.spec, run.spec.training.gradient_clipping
    optimizer = spec.training.optimizer
    rate = resolved_learning_rate(optimizer) * _LEARNING_RATE_SHARE
    # The quantized graph has neither the layers nor the classifier of the architecture.
    slower = optimizer.model_copy(update={"learning_rate": rate, "layer_decay": None})
    training = spec.training.model_copy(
        update={
            "epochs": spec.quantize.epochs,
            # Views that the run has used, so that their logits are stored.
            "views": spec.training.view_count,
            "optimizer": slower,
            "schedule": Cosine(),
            "gradient_clipping": None if clipping is not None and clipping.kind == "agc" else clipping,
            "ema": None,
            "early_stopping_patience": None,
            "precision": "float32",
            "devices": 1,
        }
    )
    images = images_per_epoch(run.dataset.train, spec.training.unlabelled_ratio)
    per_epoch = steps_per_epoch(images, spec.training.images_per_step, spec.training.devices)
    method = _with_final_values(spec.method, steps / per_epoch, spec.training.epoch_count)
    if getattr(method, "features", None) is not None:
        method = method.model_copy(update={"features": None})
    return spec.model_copy(update={"training": training, "method": method})


def _with_final_values(method: MethodSpec, epoch: float, epochs: int) -> MethodSpec:
    """The method with its ramps replaced by their values at the end of the run, which they would start again."""
    values = {name: getattr(method, name) for name in type(method).model_fields}
    final = {name: at(value, epoch, epochs) for name, value in values.items() if isinstance(value, Ramp)}
    return method.model_copy(update=final)


def _ignore(event: events.Event) -> None:
    """Discards the events of the fine-tuning."""
