"""distill(): one run, from a spec and local files to a student."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import torch
from torch import nn

from ttm_core import checkpoint, events, plan
from ttm_core.data.build import held_in_memory, read_dataset
from ttm_core.data.dataset import Dataset, Split
from ttm_core.data.random import seed as derived_seed
from ttm_core.data.specs import ResizedCrop
from ttm_core.data.views import Views
from ttm_core.devices import choose_device, set_up
from ttm_core.distiller import Distiller
from ttm_core.errors import BadSpec
from ttm_core.evaluate import evaluate
from ttm_core.export.artifacts import export
from ttm_core.methods.build import build_objective
from ttm_core.preprocess import Preprocess
from ttm_core.spec import DistillSpec
from ttm_core.students import create_model
from ttm_core.students.freeze import freeze
from ttm_core.students.initialise import start_from
from ttm_core.teacher_store.store import Stores
from ttm_core.teacher_store.stored_teacher import StoredTeacher, open_stored_teacher
from ttm_core.teachers.load import Teacher, load_teacher
from ttm_core.train import Trainer
from ttm_core.workarounds import subsample_before_narrow_strided_pointwise

_INIT_SEED = 301  # the stream of the student's initial weights


@dataclass(frozen=True)
class Inputs:
    """Local files of a run."""

    dataset: Path
    teacher: Path | None = None
    student: Path | None = None

    @classmethod
    def of(cls, spec: DistillSpec) -> "Inputs":
        """The files that a spec of file:// URIs names. Raises BadSpec for any other URI."""
        return cls(
            dataset=_local(spec.dataset.uri),
            teacher=_local(spec.teacher.checkpoint) if spec.teacher else None,
            student=_local(spec.student.checkpoint) if spec.student.checkpoint else None,
        )


def _local(uri: str) -> Path:
    parts = urlsplit(uri)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        raise BadSpec(f"{uri!r} is not a local file: alone, the engine reads file:// URIs only")
    return Path(unquote(parts.path))


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
        spec: the run; what it leaves open is decided here and told in a `planned` event.
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
    device = device or choose_device()
    inputs = inputs or Inputs.of(spec)
    spec = plan.keep_threads(spec, workdir)
    assert spec.training.threads is not None
    if spec.training.precision == "float16" and device.type != "cuda":
        raise BadSpec("training.precision float16 needs a GPU, and this run has none: use bfloat16 or float32")
    set_up(device, spec.training.threads)
    with ThreadPoolExecutor(spec.training.threads, thread_name_prefix="decode") as pool:
        return _Run(spec, workdir, inputs, stores, on_event, should_stop, device, pool).run()


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

    def run(self) -> events.Result:
        started = time.monotonic()
        self._phase("fetching")
        dataset = read_dataset(self.spec.dataset, self.inputs.dataset, self.workdir / "cache", self.pool)
        self._tell_unreadable(dataset)
        size = plan.image_size(self.spec, dataset)
        augmentation = plan.augmentation(self.spec, size)
        dataset = held_in_memory(dataset, size, whole_train_images=not isinstance(augmentation, ResizedCrop))

        self._phase("loading_teacher")
        teacher = self._load_teacher(dataset, size)
        normalization = plan.normalization(
            self.spec, dataset, teacher.preprocess.normalization if teacher is not None else None
        )
        self.spec = plan.complete(self.spec, size=size, augmentation=augmentation, student_normalization=normalization)
        preprocess = Preprocess(dataset.channels, size, normalization)
        student = self._make_student(dataset, preprocess)

        frozen = freeze(student, self.spec.student.freeze)
        needs = self.spec.method.needs
        objective = build_objective(
            self.spec, student=student, preprocess=preprocess, teacher=teacher, split=dataset.train
        ).to(self.device)

        self.spec = plan.teacher_logits(
            self.spec, self.workdir, self.stores, images=len(dataset.train), num_classes=dataset.num_classes
        )
        run = plan.run_hash(self.spec)
        resumed = checkpoint.load_newest(self.workdir / "checkpoints", run=run)
        validation = dataset.validation
        assert validation is not None, "read_dataset holds one out where there is none"
        teacher_validation = self._measure_teacher(teacher, validation, size, resumed)
        views = Views(dataset.train.images, augmentation, size, self.spec.training.seed)
        with self._stored_teacher(teacher, dataset, views) as stored:
            trainer = Trainer(
                distiller=Distiller(
                    student=student,
                    preprocess=preprocess,
                    objective=objective,
                    teacher=teacher if needs.teacher else None,
                    stored=stored,
                    device=self.device,
                    precision=self.spec.training.precision,
                ),
                spec=self.spec.training,
                split=dataset.train,
                views=views,
                frozen=frozen,
                validate=lambda model: self._evaluate(model, validation, preprocess, size),
                save=lambda trainer: self._save(trainer, run, teacher_validation),
                prepare_view=lambda view: self._prepare_view(stored, view),
                on_event=self.on_event,
                should_stop=self.should_stop,
            )
            if resumed is not None:
                trainer.load_state(resumed["trainer"])
            self._tell_plan(trainer, dataset, teacher, student, resumed is not None)
            self._phase("training")
            trainer.train()

        self._phase("evaluating")
        student.load_state_dict(trainer.best.weights)
        result = events.Result(
            best_epoch=trainer.best.epoch,
            steps=trainer.step,
            student_validation=self._evaluate(student, validation, preprocess, size),
            student_test=self._test(student, dataset.test, preprocess, size),
            teacher_validation=teacher_validation,
            teacher_test=self._test(teacher.model, dataset.test, teacher.preprocess, size) if teacher else None,
            student_parameters=_parameters(student),
            teacher_parameters=teacher.parameters if teacher else None,
            train_seconds=time.monotonic() - started,
            teacher_images=stored.computed if stored else None,
            teacher_images_spared=max(stored.read - stored.computed, 0) if stored else None,
            artifacts=[],
        )
        self._phase("exporting")
        artifacts = export(self.workdir, trainer.best.weights, self.spec, preprocess, dataset.class_names, result)
        result = result.model_copy(update={"artifacts": artifacts})
        self.on_event(events.Finished(result=result))
        return result

    def _stored_teacher(
        self, teacher: Teacher | None, dataset: Dataset, views: Views
    ) -> AbstractContextManager[StoredTeacher | None]:
        training = self.spec.training
        if teacher is None or training.teacher_logits != "stored":
            return nullcontext()
        return open_stored_teacher(
            self.stores or Stores(self.workdir / "cache" / "teacher-stores"),
            teacher,
            dataset.train,
            views,
            count=training.views or training.epochs,
            num_classes=dataset.num_classes,
            device=self.device,
            precision=training.precision,
        )

    def _prepare_view(self, stored: StoredTeacher | None, view: int) -> Iterator[None]:
        """Fill the store for a view; the phase tells of the first filling only, later ones are a part of training."""
        if stored is None:
            return
        first = stored.computed == 0
        for count, _ in enumerate(stored.fill(view)):
            if first and count == 0:
                self._phase("caching_teacher")
            yield
        if first and stored.computed:
            self._phase("training")

    def _phase(self, phase: events.Phase) -> None:
        self.on_event(events.PhaseChanged(phase=phase))

    def _tell_unreadable(self, dataset: Dataset) -> None:
        for bad in dataset.unreadable[:100]:
            self.on_event(events.Log(level="warning", message=f"left out {bad.name}: {bad.reason}"))

    def _load_teacher(self, dataset: Dataset, size: int) -> Teacher | None:
        if self.spec.teacher is None:
            return None
        assert self.inputs.teacher is not None, "a spec with a teacher comes with its file"
        teacher = load_teacher(self.spec.teacher, self.inputs.teacher, image_size=size, class_names=dataset.class_names)
        self.spec = plan.with_teacher(self.spec, teacher)
        teacher.model.to(self.device)
        return teacher

    def _make_student(self, dataset: Dataset, preprocess: Preprocess) -> nn.Module:
        spec = self.spec.student
        torch.manual_seed(derived_seed(_INIT_SEED, self.spec.training.seed))
        options = {} if spec.drop_path is None else {"drop_path_rate": spec.drop_path}
        try:
            model = create_model(
                spec.architecture,
                num_classes=dataset.num_classes,
                in_chans=dataset.channels,
                image_size=preprocess.image_size,
                **options,
            )
        except TypeError as error:
            if not options:
                raise
            raise BadSpec(f"{spec.architecture} has no paths to drop: leave student.drop_path out") from error
        if self.inputs.student is not None:
            start_from(model, self.inputs.student, spec.architecture)
        if self.device.type == "cpu":
            subsample_before_narrow_strided_pointwise(model)
        model.to(self.device)
        return model.to(memory_format=torch.channels_last)

    def _measure_teacher(
        self, teacher: Teacher | None, validation: Split, size: int, resumed: dict[str, object] | None
    ) -> events.Accuracy | None:
        """Before any compute is spent on the student: a poor teacher, or one of other classes, shows here."""
        if teacher is None:
            return None
        if resumed is not None:
            return events.Accuracy.model_validate(resumed["teacher_validation"])
        seen = self._evaluate(teacher.model, validation, teacher.preprocess, size)
        self.on_event(events.TeacherMeasured(top1=seen.top1, loss=seen.loss, images=seen.images))
        return seen

    def _evaluate(self, model: nn.Module, split: Split, preprocess: Preprocess, size: int) -> events.Accuracy:
        return evaluate(model, split, preprocess, size=size, device=self.device)

    def _test(self, model: nn.Module, test: Split | None, preprocess: Preprocess, size: int) -> events.Accuracy | None:
        return None if test is None else self._evaluate(model, test, preprocess, size)

    def _save(self, trainer: Trainer, run: str, teacher_validation: events.Accuracy | None) -> None:
        state = {
            "run": run,
            "trainer": trainer.state(),
            "teacher_validation": teacher_validation and teacher_validation.model_dump(),
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

    def _tell_plan(
        self, trainer: Trainer, dataset: Dataset, teacher: Teacher | None, student: nn.Module, resumed: bool
    ) -> None:
        self.on_event(
            events.Planned(
                spec=self.spec,
                total_steps=trainer.total_steps,
                train_images=len(dataset.train),
                validation_images=len(dataset.validation) if dataset.validation else 0,
                test_images=len(dataset.test) if dataset.test else 0,
                unreadable_images=len(dataset.unreadable),
                num_classes=dataset.num_classes,
                student_parameters=_parameters(student),
                teacher_parameters=teacher.parameters if teacher else None,
                resumed_from_step=trainer.step if resumed else None,
            )
        )


def _parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
