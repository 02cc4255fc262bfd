"""distill(): runs a spec from local files to an exported student."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from ttm_core.errors import NonFiniteLoss
from ttm_core.export.artifacts import TrainingResult, export
from ttm_core.pipeline import checkpoint
from ttm_core.pipeline.build import Models, build_models
from ttm_core.pipeline.context import RunContext, open_context
from ttm_core.pipeline.decisions.resolve import ResolvedRun, resolve_run
from ttm_core.pipeline.inputs import Inputs
from ttm_core.pipeline.student.latency import resolve_latency
from ttm_core.pipeline.train import TrainedStudent, train_student
from ttm_core.quantization.aware import build_tuner
from ttm_core.report.damage.record import PredictionRecorder
from ttm_core.report.damage.write import EvaluatedSplit
from ttm_core.report.schema import SplitScores
from ttm_core.spec import events
from ttm_core.spec.damage.predictions import MAX_IMAGES
from ttm_core.spec.job import DistillSpec
from ttm_core.spec.study.run_options import DEFAULT_OPTIONS, RunOptions
from ttm_core.teacher_store.store import Stores
from ttm_core.training.evaluate import chance_accuracy, correct_images, describe_teachers


def distill(
    spec: DistillSpec,
    workdir: Path,
    *,
    inputs: Inputs | None = None,
    stores: Stores | None = None,
    on_event: Callable[[events.Event], None] = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
    device: torch.device | None = None,
    options: RunOptions = DEFAULT_OPTIONS,
) -> events.Result:
    """Trains the student of a spec and exports it. Resumes from the newest checkpoint in `workdir`.

    Args:
        spec: the run. Open fields are resolved from the data and reported in a `resolved` event.
        workdir: the only folder written to: `checkpoints/`, `decisions/`, `out/`, `cache/`.
        inputs: local files; by default those of the spec's file:// URIs.
        stores: teacher stores shared with other runs. By default logits are stored in `workdir`, and only if the spec
            says `stored`.
        on_event: receives phases, metrics, checkpoints and the result, in the order that spec/events.py documents.
        should_stop: called after every step; True saves a checkpoint and raises `trainer.Interrupted`.
        device: by default the first CUDA device, or the CPU.
        options: when the run pauses itself, and what it adds to the result.

    Raises:
        EngineError: the run failed; the error has a stable code and an origin.
        Interrupted: `should_stop` returned True.
        ReachedEpoch: the run pauses itself after an epoch.
    """
    started = time.monotonic()
    with open_context(spec, workdir, inputs, stores, on_event, should_stop, device, options) as context:
        run = resolve_latency(resolve_run(spec, context), context)
        resumed = checkpoint.load_newest(workdir / "checkpoints", run=run.hash)
        models = build_models(run, context, resumed)
        trained = train_student(run, models, context, resumed)
        # The other processes wait for the main process here.
        return context.distributed.run_on_main(lambda: _evaluate_and_export(run, models, trained, context, started))


@dataclass(frozen=True)
class _Scores:
    validation: SplitScores
    test: SplitScores | None
    evaluated: EvaluatedSplit | None  # predictions of the test split, or validation without one


def _evaluate_and_export(
    run: ResolvedRun, models: Models, trained: TrainedStudent, context: RunContext, started: float
) -> events.Result:
    context.phase("evaluating")
    with context.activity("evaluating"):
        scores = _evaluate(run, models, trained)
    _require_finite(scores)
    _warn_at_chance(scores.validation.student_accuracy, run, models, context)
    result = events.Result(
        best_epoch=trained.best.epoch,
        steps=trained.steps,
        student_validation=scores.validation.student_accuracy,
        student_test=scores.test.student_accuracy if scores.test else None,
        teacher_validation=trained.teacher_validation,
        teacher_test=scores.test.teacher_accuracy if scores.test else None,
        student_parameters=sum(parameter.numel() for parameter in models.student.parameters()),
        teacher_parameters=run.teacher.parameters if run.teacher else None,
        train_seconds=time.monotonic() - started,
        training_seconds=trained.training_seconds,
        teacher_forwards=trained.teacher_forwards,
        teacher_cache_hits=trained.teacher_cache_hits,
        artifacts=[],
    )
    context.phase("exporting")
    with context.activity("exporting"):
        training_result = TrainingResult(
            spec=run.spec,
            structure=models.structure,
            weights=trained.best.weights,
            normalization=run.preprocess.normalization,
            dataset=run.dataset,
            result=result,
            teacher=describe_teachers(run.teachers, run.teacher_files),
            teachers=run.teachers,
            validation=scores.validation,
            test=scores.test,
            evaluated=scores.evaluated,
            estimate=trained.estimate,
            device=context.device,
            tune=build_tuner(run, context, trained.steps),
        )
        result = export(context.workdir, training_result, context.on_event)
    if context.options.record_correct:
        evaluator = models.evaluator
        correct = correct_images(
            models.student, run.dataset.test or evaluator.validation, run.preprocess, device=context.device
        )
        result = result.model_copy(update={"correct": correct})
    context.on_event(events.Finished(result=result))
    return result


def _require_finite(scores: _Scores) -> None:
    """Raises NonFiniteLoss if the student has no finite loss on a split: its training diverged after the last recorded
    loss, or its weights to start from are damaged.
    """
    for split, measured in (("validation", scores.validation), ("test", scores.test)):
        if measured is not None and not math.isfinite(measured.student_accuracy.loss):
            raise NonFiniteLoss(
                f"The loss of the trained student on the {split} images is {measured.student_accuracy.loss}: lower the "
                "learning rate, set training.precision to float32, or check the weights of student.checkpoint."
            )


def _warn_at_chance(measured: events.Accuracy, run: ResolvedRun, models: Models, context: RunContext) -> None:
    """Warns where the student's accuracy does not exceed the 95 % Wilson interval around chance."""
    chance = chance_accuracy(models.evaluator.validation)
    _, high = events.wilson_interval(chance, measured.images)
    if measured.top1 <= high < 1:
        context.warn(
            f"the student classifies {measured.top1:.1%} of {measured.images} validation images correctly, which is "
            f"not above chance ({chance:.1%}; 95 % interval up to {high:.1%}). It may need a lower learning rate than "
            f"{run.spec.training.optimizer.learning_rate:g}, or more epochs than {run.spec.training.epoch_count}"
        )


def _evaluate(run: ResolvedRun, models: Models, trained: TrainedStudent) -> _Scores:
    """Scores of the best student and its teacher on the validation and test splits."""
    models.student.load_state_dict(trained.best.weights)
    evaluator, test = models.evaluator, run.dataset.test
    headline = test or evaluator.validation
    recorder = PredictionRecorder() if len(headline) <= MAX_IMAGES else None
    return _Scores(
        validation=evaluator.compare(models.student, evaluator.validation, None if test else recorder),
        test=evaluator.compare(models.student, test, recorder) if test else None,
        evaluated=EvaluatedSplit("test" if test else "validation", headline, recorder.recorded()) if recorder else None,
    )
