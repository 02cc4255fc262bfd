"""Times the engine's training steps without reading, validation or export."""

import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import torch

from bench.speed import data
from bench.speed.clock import Clock
from bench.speed.pairs import EPOCHS, Pair
from ttm_core.data.dataset import full_split
from ttm_core.data.images import ArrayImages
from ttm_core.data.views import Views
from ttm_core.hardware.adapt import adapt_to_device
from ttm_core.hardware.memory_format import choose_memory_format, in_memory_format
from ttm_core.methods.build import build_objective
from ttm_core.models import build
from ttm_core.models.preprocess import TORCH_FORMATS, Preprocess
from ttm_core.models.students.start import start_student
from ttm_core.models.teachers.load import Teacher, load_teacher
from ttm_core.models.weights import write_safetensors
from ttm_core.precision import Precision
from ttm_core.spec.dataset import CropFlip
from ttm_core.spec.events import Accuracy
from ttm_core.spec.job import DistillSpec, Normalization
from ttm_core.spec.structure import ModelStructure
from ttm_core.teacher_store.store import Stores
from ttm_core.teacher_store.stored_teacher import StoredTeacher, open_stored_teacher
from ttm_core.training.devices import keep_freed_memory, set_up
from ttm_core.training.distiller import Distiller, TeacherSource
from ttm_core.training.trainer import Trainer

CPU = torch.device("cpu")
# The first step with CUDA graphs runs without one, the second records it.
_WARM_UP_STEPS = 3
NORMALIZATION = Normalization(mean=[0.5, 0.5, 0.5], std=[0.25, 0.25, 0.25])


def run(contender: str, pair: Pair, threads: int, precision: Precision, device: torch.device = CPU) -> dict[str, float]:
    """Number of images trained on, with CPU-seconds and seconds."""
    keep_freed_memory()
    set_up(device, threads)
    graphs = contender.endswith("-graphs")
    how = contender.removeprefix("ours-").removesuffix("-graphs")
    views = max(EPOCHS // 4, 1) if how == "quarter" else EPOCHS
    spec = DistillSpec.model_validate(
        {
            "teacher": None if how == "ce" else {"checkpoint": "file:///made", "architecture": pair.teacher},
            "student": {"architecture": pair.student, "image_size": pair.size},
            "dataset": "file:///made",
            "method": "ce" if how == "ce" else {"kind": "wttm", "gamma": 0.2, "beta": 2},
            "training": {
                "epochs": EPOCHS,
                "views": views,
                "batch_size": pair.batch,
                "threads": threads,
                "checkpoint_seconds": 86_400,
                "optimizer": {"name": "sgd", "learning_rate": 0.01},
            },
        }
    )
    split = full_split(ArrayImages(data.images(pair)), data.labels(pair))
    seen = Views(split, pair.classes, CropFlip(padding=pair.size // 8), pair.size, 0, device)
    preprocess = Preprocess(3, pair.size, NORMALIZATION)
    structure = ModelStructure(architecture=pair.student, num_classes=pair.classes, image_size=pair.size)
    student = start_student(structure, seed=0, device=device)
    adapt_to_device(student, preprocess, device, precision, train=True)
    faster = choose_memory_format([(student, preprocess)], device, precision, train=True)
    preprocess = replace(preprocess, memory_format=faster)
    student.to(memory_format=TORCH_FORMATS[faster])
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        teacher = None if how == "ce" else _teacher(spec, pair, Path(folder), precision, device)
        stored = None
        if teacher is not None and how != "online":
            stored = stack.enter_context(
                open_stored_teacher(
                    Stores(Path(folder)), teacher, seen, count=views, device=device, precision=precision
                )
            )
        if how == "warm":
            assert stored is not None
            for view in range(views):
                for _ in stored.fill(view):
                    pass
        objective = build_objective(spec, student=student, preprocess=preprocess, teacher=teacher, split=split)
        trainer = Trainer(
            distiller=Distiller(
                student=student,
                preprocess=preprocess,
                objective=objective.to(device),
                teachers=[] if teacher is None else [TeacherSource(teacher, stored)],
                device=device,
                precision=precision,
                teacher_precision=precision,
                compile_mode="reduce-overhead" if graphs else None,
            ),
            spec=spec.training,
            split=split,
            views=seen,
            frozen=[],
            validate=lambda model: Accuracy(top1=0.0, loss=0.0, images=1),
            save=lambda trainer: None,
            prepare_view=lambda view: iter(()) if stored is None else stored.fill(view),
            on_event=lambda event: None,
            should_stop=lambda: False,
        )
        _warm_up(trainer, stored)
        with Clock(device) as clock:
            trainer.train()
    return clock.summary(pair.images * EPOCHS)


def _teacher(spec: DistillSpec, pair: Pair, folder: Path, precision: Precision, device: torch.device) -> Teacher:
    torch.manual_seed(0)
    model = build(ModelStructure(architecture=pair.teacher, num_classes=pair.classes, image_size=pair.size))
    write_safetensors(folder / "teacher.safetensors", model.state_dict(), {})
    assert spec.teacher is not None
    names = [str(number) for number in range(pair.classes)]
    teacher = load_teacher(spec.teacher, folder / "teacher.safetensors", image_size=pair.size, class_names=names)
    teacher.model.to(device)
    adapt_to_device(teacher.model, teacher.preprocess, device, precision, train=False)
    faster = choose_memory_format([(teacher.model, teacher.preprocess)], device, precision, train=False)
    return in_memory_format(teacher, faster)


def _warm_up(trainer: Trainer, stored: StoredTeacher | None) -> None:
    """Steps that allocate memory, select kernels and record CUDA graphs. Missing logits are read as zeros."""
    trainer._training_mode()
    for _ in range(_WARM_UP_STEPS):
        trainer._optimize(trainer._first_batch(), trainer.distiller)
