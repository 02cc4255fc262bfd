"""distill(): one run, from a spec and local files to a student."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ttm_core.data.build import held_in_memory, read_dataset
from ttm_core.data.cache import DataCache
from ttm_core.data.dataset import Dataset, Split, with_classes
from ttm_core.data.views import Views
from ttm_core.errors import BadDataset, BadSpec
from ttm_core.export.artifacts import Trained, export
from ttm_core.methods.build import Objective, StepContext, build_objective
from ttm_core.models import timm_models
from ttm_core.models.initialize import freeze, start_student
from ttm_core.models.preprocess import Preprocess
from ttm_core.models.teachers.ensemble import together
from ttm_core.models.teachers.load import Teacher, load_teacher
from ttm_core.pipeline import checkpoint, resolve
from ttm_core.pipeline.estimate import Effort, Work, estimate
from ttm_core.pipeline.inputs import Inputs
from ttm_core.pipeline.keepalive import keepalive
from ttm_core.spec import events
from ttm_core.spec.dataset import ResizedCrop
from ttm_core.spec.job import DistillSpec
from ttm_core.teacher_store.store import Stores
from ttm_core.teacher_store.stored_teacher import StoredTeacher, open_stored_teacher
from ttm_core.training.devices import choose_device, set_up
from ttm_core.training.distiller import Distiller, Source
from ttm_core.training.distributed import Distributed, init_distributed
from ttm_core.training.evaluator import Evaluator, describe_teachers, labelled_by_teacher
from ttm_core.training.trainer import Trainer


def distill(
    spec: DistillSpec,
    workdir: Path,
    *,
    inputs: Inputs | None = None,
    stores: Stores | None = None,
    on_event: Callable[[events.Event], None] = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
    device: torch.device | None = None,
) -> events.Result:
    """Train the student of a spec; resumes from the newest checkpoint in `workdir`.

    Args:
        spec: the run; what it leaves open is decided here and told in a `resolved` event.
        workdir: the one folder written to: `checkpoints/`, `out/`, `cache/`.
        inputs: local files; left out, the spec's URIs must be file://.
        stores: where the teacher's logits are kept for other runs; left out, they are kept only if the spec says
            `stored`, and within `workdir`.
        on_event: told of phases, metrics, checkpoints and the result, in the order that `events` promises.
        should_stop: asked after every step; True saves a checkpoint and raises `train.Interrupted`.
        device: CUDA's first, or the CPU, when left out.

    Raises:
        EngineError: with a stable code and whose fault it is.
        Interrupted: `should_stop` said so.
    """
    inputs = inputs or Inputs.of(spec)
    with init_distributed(spec.training.devices) as distributed:
        device = device or choose_device(distributed.rank)
        spec = distributed.main_first(lambda: resolve.keep_threads(spec, workdir))
        assert spec.training.threads is not None
        if spec.training.precision == "float16" and device.type != "cuda":
            raise BadSpec("training.precision float16 needs a GPU, and this run has none: use bfloat16 or float32")
        set_up(device, spec.training.threads)
        with (
            ThreadPoolExecutor(spec.training.threads, thread_name_prefix="decode") as pool,
            DataCache(inputs.data_cache or workdir / "cache", inputs.data_cache_max_bytes) as data_cache,
        ):
            tell = on_event if distributed.is_main else _silent
            run = _Run(spec, workdir, inputs, stores, tell, should_stop, device, pool, data_cache, distributed)
            return run.run()


@dataclass
class _Run:
    """The stations of a run, in order."""

    spec: DistillSpec
    workdir: Path
    inputs: Inputs
    stores: Stores | None
    on_event: Callable[[events.Event], None]
    should_stop: Callable[[], bool]
    device: torch.device
    pool: ThreadPoolExecutor
    data_cache: DataCache
    distributed: Distributed
    effort: Effort = field(init=False)

    def run(self) -> events.Result:
        started = time.monotonic()
        self._phase("fetching")
        with keepalive(lambda seconds: self._log(f"has been reading the data for {seconds:.0f} s")):
            dataset = self.distributed.main_first(
                lambda: read_dataset(self.spec.dataset, self.inputs.dataset, self.data_cache, self.pool)
            )
        self._tell_unreadable(dataset)
        if self.spec.method.requirements.labels and not dataset.train.labelled:
            raise BadDataset(
                f"the training images have no labels, and method {self.spec.method.kind!r} asks for them: wttm, ttm or "
                "kd with ce_weight 0 learns from the teacher alone"
            )
        size = resolve.image_size(self.spec, dataset)
        augmentation = resolve.augmentation(self.spec, size)
        with keepalive(lambda seconds: self._log(f"has been decoding the images for {seconds:.0f} s")):
            dataset = held_in_memory(dataset, size, whole_train_images=not isinstance(augmentation, ResizedCrop))

        self._phase("loading_teacher")
        teachers = self._load_teachers(dataset, size)
        if not dataset.class_names:
            dataset = with_classes(dataset, teachers[0].class_names)
        normalization = resolve.normalization(
            self.spec, dataset, teachers[0].preprocess.normalization if teachers else None
        )
        self.spec = resolve.complete(
            self.spec, size=size, augmentation=augmentation, student_normalization=normalization
        )
        preprocess = Preprocess(dataset.channels, size, normalization)
        student = start_student(
            self.spec.student,
            preprocess,
            self.inputs.student,
            num_classes=dataset.num_classes,
            seed=self.spec.training.seed,
            device=self.device,
        )
        frozen = freeze(student, self.spec.student.freeze)
        needs = self.spec.method.requirements
        objective = build_objective(
            self.spec,
            student=student,
            preprocess=preprocess,
            teacher=teachers[0] if teachers else None,
            split=dataset.train,
        ).to(self.device)
        teacher = self._together(teachers, objective)
        dataset = labelled_by_teacher(dataset, teacher, size=size, device=self.device)

        self.spec = self.distributed.main_first(
            lambda: resolve.teacher_logits(
                self.spec, self.workdir, self.stores, images=len(dataset.train), num_classes=dataset.num_classes
            )
        )
        run = resolve.run_hash(self.spec)
        resumed = checkpoint.load_newest(self.workdir / "checkpoints", run=run)
        validation = dataset.validation
        assert validation is not None, "read_dataset holds one out where there is none"
        evaluator = Evaluator(preprocess, teacher, validation, dataset.class_names, self.device)
        teacher_validation = self.distributed.run_on_main(lambda: self._teacher_validation(evaluator, resumed))
        views = Views(dataset.train, dataset.num_classes, augmentation, size, self.spec.training.seed)
        with ExitStack() as stack:
            sources = [
                Source(each, stack.enter_context(self._stored_teacher(each, views)), told.weight)
                for told, each in zip(self.spec.all_teachers, teachers, strict=True)
            ]
            stored = [source.stored for source in sources if source.stored is not None]
            trainer = Trainer(
                distiller=Distiller(
                    student=student,
                    preprocess=preprocess,
                    objective=objective,
                    teachers=sources if needs.teacher else [],
                    device=self.device,
                    precision=self.spec.training.precision,
                ),
                spec=self.spec.training,
                split=dataset.train,
                views=views,
                frozen=frozen,
                validate=evaluator.validate,
                save=lambda trainer: self._save(trainer, run, teacher_validation),
                prepare_view=lambda view: self._prepare_view(stored, view),
                on_event=self.on_event,
                should_stop=self.should_stop,
                distributed=self.distributed,
            )
            if resumed is not None:
                trainer.load_state(resumed["trainer"])
            self.effort = self._effort(trainer, views, validation, stored, resumed)
            self._tell_plan(trainer, dataset, teacher, stored, resumed is not None)
            self._phase("training")
            trainer.train()

        images = torch.tensor([sum(each.computed for each in stored), sum(each.read for each in stored)])
        computed, read = self.distributed.all_reduce(images).tolist()
        if not self.distributed.is_main:
            return self.distributed.run_on_main(_told_by_the_first)

        self._phase("evaluating")
        student.load_state_dict(trainer.best.weights)
        scores = evaluator.compare(student, validation)
        test_scores = evaluator.compare(student, dataset.test) if dataset.test else None
        result = events.Result(
            best_epoch=trainer.best.epoch,
            steps=trainer.step,
            student_validation=scores.student_accuracy,
            student_test=test_scores.student_accuracy if test_scores else None,
            teacher_validation=teacher_validation,
            teacher_test=test_scores.teacher_accuracy if test_scores else None,
            student_parameters=_parameters(student),
            teacher_parameters=teacher.parameters if teacher else None,
            train_seconds=time.monotonic() - started,
            training_seconds=self.effort.seconds,
            teacher_forwards=computed if stored else None,
            teacher_cache_hits=max(read - computed, 0) if stored else None,
            artifacts=[],
        )
        self._phase("exporting")
        trained = Trained(
            spec=self.spec,
            weights=trainer.best.weights,
            preprocess=preprocess,
            dataset=dataset,
            result=result,
            teacher=describe_teachers(teachers, self.inputs.teachers, self.device),
            validation=scores,
            test=test_scores,
            estimate=self.effort.estimate,
            device=self.device,
        )
        result = result.model_copy(update={"artifacts": export(self.workdir, trained, self.on_event)})
        self.on_event(events.Finished(result=result))
        return self.distributed.run_on_main(lambda: result)

    def _stored_teacher(self, teacher: Teacher, views: Views) -> AbstractContextManager[StoredTeacher | None]:
        training = self.spec.training
        if training.teacher_logits != "stored":
            return nullcontext()
        return open_stored_teacher(
            self.stores or Stores(self.workdir / "cache" / "teacher-stores"),
            teacher,
            views,
            count=training.view_count,
            device=self.device,
            precision=training.precision,
            encoding=training.stored_as,
            distributed=self.distributed,
        )

    def _prepare_view(self, stored: Sequence[StoredTeacher], view: int) -> Iterator[None]:
        """Fill the stores for a view; the phase tells of the first filling only, later ones are a part of training."""
        first = not any(each.computed for each in stored)
        for count, _ in enumerate(chain.from_iterable(each.fill(view) for each in stored)):
            if first and count == 0:
                self._phase("caching_teacher")
            yield
        if first and any(each.computed for each in stored):
            self._phase("training")

    def _phase(self, phase: events.Phase) -> None:
        self.on_event(events.PhaseChanged(phase=phase))

    def _log(self, message: str) -> None:
        self.on_event(events.Log(message=message))

    def _tell_unreadable(self, dataset: Dataset) -> None:
        for bad in dataset.unreadable[:100]:
            self.on_event(events.Log(level="warning", message=f"left out {bad.name}: {bad.reason}"))

    def _load_teachers(self, dataset: Dataset, size: int) -> list[Teacher]:
        found = [
            timm_models.fetch(told) if path is None else (told, path)
            for told, path in zip(self.spec.all_teachers, self.inputs.teachers, strict=True)
        ]
        self.inputs = replace(self.inputs, teachers=[path for _, path in found])
        teachers: list[Teacher] = []
        class_names = dataset.class_names
        for told, path in found:
            teachers.append(load_teacher(told, path, image_size=size, class_names=class_names))
            class_names = teachers[0].class_names
        self.spec = resolve.with_teachers(self.spec, teachers)
        for teacher in teachers:
            teacher.model.to(self.device)
        return teachers

    def _together(self, teachers: Sequence[Teacher], objective: Objective) -> Teacher | None:
        """The teacher, or several as one, for measuring: as the method sees them when it starts."""
        if not teachers:
            return None
        weights = [told.weight for told in self.spec.all_teachers]
        return together(teachers, weights, objective.temperature(StepContext(0.0, torch.Generator())))

    def _teacher_validation(self, evaluator: Evaluator, resumed: dict[str, Any] | None) -> events.Accuracy | None:
        """Before any compute is spent on the student: a poor teacher, or one of other classes, shows here."""
        if resumed is not None:
            told = resumed["teacher_validation"]
            return None if told is None else events.Accuracy.model_validate(told)
        seen = evaluator.measure_teacher()
        if seen is not None:
            self.on_event(events.TeacherMeasured(top1=seen.top1, loss=seen.loss, images=seen.images))
        return seen

    def _save(self, trainer: Trainer, run: str, teacher_validation: events.Accuracy | None) -> None:
        if not self.distributed.is_main:
            return
        state = {
            "run": run,
            "trainer": trainer.state(),
            "teacher_validation": teacher_validation and teacher_validation.model_dump(),
            "estimate": self.effort.estimate.model_dump(),
            "seconds": self.effort.seconds,
        }
        saved = checkpoint.save(self.workdir / "checkpoints", trainer.step, state)
        self.on_event(
            events.CheckpointSaved(
                step=trainer.step,
                epoch=trainer.step // trainer.steps_per_epoch,
                path=str(saved.path.relative_to(self.workdir)),
                sha256=saved.sha256,
                size=saved.size,
                best=False,
            )
        )

    def _effort(
        self,
        trainer: Trainer,
        views: Views,
        validation: Split,
        stored: Sequence[StoredTeacher],
        resumed: dict[str, Any] | None,
    ) -> Effort:
        if resumed is not None:
            return Effort(events.Estimate.model_validate(resumed["estimate"]), resumed["seconds"])
        work = Work(
            steps=trainer.total_steps,
            validation_images=self.spec.training.epochs * len(validation),
            store_rows=sum(each.missing for each in stored),
            store_bytes=sum(each.bytes for each in stored),
        )
        return Effort(estimate(trainer.distiller, views, self.spec.training, work, self.distributed))

    def _tell_plan(
        self,
        trainer: Trainer,
        dataset: Dataset,
        teacher: Teacher | None,
        stored: Sequence[StoredTeacher],
        resumed: bool,
    ) -> None:
        self.on_event(
            events.Resolved(
                spec=self.spec,
                total_steps=trainer.total_steps,
                train_images=len(dataset.train),
                validation_images=len(dataset.validation) if dataset.validation else 0,
                test_images=len(dataset.test) if dataset.test else 0,
                unreadable_images=len(dataset.unreadable),
                num_classes=dataset.num_classes,
                student_parameters=_parameters(trainer.student),
                teacher_parameters=teacher.parameters if teacher else None,
                estimate=self.effort.estimate,
                resumed_from_step=trainer.step if resumed else None,
                teacher_stores=list(dict.fromkeys(each.digest for each in stored)),
            )
        )


def _parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _silent(event: events.Event) -> None:
    """Of a run's processes one tells."""


def _told_by_the_first() -> events.Result:
    raise AssertionError("asked of a process that waits for another's answer")
