"""The files that a finished run leaves."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ttm_core.data.dataset import Dataset
from ttm_core.export.forms import Source, write_forms
from ttm_core.export.model_card import model_card
from ttm_core.export.student import load_student, save_student
from ttm_core.models.preprocess import Preprocess
from ttm_core.models.weights import write_durably
from ttm_core.report.costs import describe_device, describe_model
from ttm_core.report.page import page
from ttm_core.report.schema import Model, Report, Run, SplitScores
from ttm_core.spec.events import Artifact, Estimate, Event, Result
from ttm_core.spec.job import DistillSpec

_MEDIA_TYPES = {
    ".safetensors": "application/octet-stream",
    ".onnx": "application/octet-stream",
    ".zip": "application/zip",
    ".json": "application/json",
    ".html": "text/html; charset=utf-8",
    ".md": "text/markdown; charset=utf-8",
}


@dataclass(frozen=True)
class Trained:
    """A run whose student is trained and judged."""

    spec: DistillSpec
    weights: dict[str, Tensor]
    preprocess: Preprocess
    dataset: Dataset
    result: Result
    teacher: Model | None
    validation: SplitScores
    test: SplitScores | None
    estimate: Estimate | None
    device: torch.device


def export(workdir: Path, trained: Trained, on_event: Callable[[Event], None]) -> list[Artifact]:
    """Write the student, its other forms, the run's report and the model's card under `workdir`/out."""
    out = workdir / "out"
    # Equal runs give equal files, so nothing of when and how long goes into the student's.
    passing = {"train_seconds", "training_seconds", "teacher_forwards", "teacher_cache_hits", "artifacts"}
    metrics = trained.result.model_dump(mode="json", exclude=passing)
    path = out / "student.safetensors"
    save_student(
        path,
        trained.weights,
        spec=trained.spec,
        preprocess=trained.preprocess,
        class_names=trained.dataset.class_names,
        metrics=metrics,
    )
    report = _report(trained, path, on_event)
    write_durably(out / "report.json", report.model_dump_json(indent=2).encode())
    write_durably(out / "report.html", page(report).encode())
    write_durably(out / "MODEL_CARD.md", model_card(report, trained.spec).encode())
    forms = [form.file for form in report.exports if form.size is not None]
    names = [path.name, *forms, "report.json", "report.html", "MODEL_CARD.md"]
    return [_describe(workdir, out / name) for name in names]


def _report(trained: Trained, path: Path, on_event: Callable[[Event], None]) -> Report:
    """Measured from the student's file, so that what is told is true of what is delivered."""
    student = load_student(path)
    described = describe_model(
        student.model.to(trained.device),
        student.architecture,
        student.preprocess,
        num_classes=len(student.class_names),
        parameters=trained.result.student_parameters,
        file_bytes=path.stat().st_size,
        device=trained.device,
    )
    student.model.cpu()
    dataset, result, spec = trained.dataset, trained.result, trained.spec
    judged = dataset.test or dataset.validation
    assert judged is not None, "read_dataset holds one out where there is none"
    source = Source(student, dataset.train, "test" if dataset.test else "validation", judged)
    return Report(
        name=spec.name,
        student=described,
        teacher=trained.teacher,
        device=describe_device(trained.device),
        validation=trained.validation,
        test=trained.test,
        exports=write_forms(source, spec.exports, path.parent, on_event),
        run=Run(
            method=spec.method.kind,
            epochs=spec.training.epochs,
            best_epoch=result.best_epoch,
            steps=result.steps,
            train_images=len(dataset.train),
            seconds=result.train_seconds,
            training_seconds=result.training_seconds,
            estimate=trained.estimate,
            teacher_forwards=result.teacher_forwards,
            teacher_cache_hits=result.teacher_cache_hits,
        ),
    )


def _describe(workdir: Path, path: Path) -> Artifact:
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return Artifact(
        name=path.name,
        path=str(path.relative_to(workdir)),
        media_type=_MEDIA_TYPES[path.suffix],
        size=path.stat().st_size,
        sha256=digest,
    )
