"""Writes the output files of a finished run."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from ttm_core.data.dataset import Dataset
from ttm_core.export.formats.int8 import Tune
from ttm_core.export.formats.write import ExportSource, write_exports
from ttm_core.export.measure import measure_exports
from ttm_core.export.model_card import model_card
from ttm_core.export.student import load_student, save_student
from ttm_core.files.durable import write_durably
from ttm_core.models.teachers.load import Teacher
from ttm_core.report.costs import describe_device, describe_model
from ttm_core.report.damage.gallery import MAX_SIDE
from ttm_core.report.damage.write import EvaluatedSplit, write_damage
from ttm_core.report.page import page
from ttm_core.report.schema import ExportedFile, Model, Quantization, Report, Run, SplitScores
from ttm_core.spec.damage.files import TEACHER_FILE
from ttm_core.spec.events import Artifact, Estimate, Event, Result
from ttm_core.spec.job import DistillSpec, Normalization, exported
from ttm_core.spec.speed.verdict import ShippableFile, files_of, recommend
from ttm_core.spec.structure import ModelStructure

_MEDIA_TYPES = {
    ".safetensors": "application/octet-stream",
    ".onnx": "application/octet-stream",
    ".pt2": "application/octet-stream",
    ".zip": "application/zip",
    ".json": "application/json",
    ".html": "text/html; charset=utf-8",
    ".md": "text/markdown; charset=utf-8",
}


@dataclass(frozen=True)
class TrainingResult:
    """A trained and evaluated student, with everything that its files describe."""

    spec: DistillSpec
    structure: ModelStructure  # of the student
    weights: dict[str, Tensor]
    normalization: Normalization  # of the student
    dataset: Dataset
    result: Result
    teacher: Model | None
    teachers: Sequence[Teacher]
    validation: SplitScores
    test: SplitScores | None
    evaluated: EvaluatedSplit | None  # the split of the damage report
    estimate: Estimate | None
    device: torch.device
    tune: Tune  # fine-tunes the quantized student


def export(workdir: Path, training: TrainingResult, on_event: Callable[[Event], None]) -> Result:
    """Writes the student, its exports, the report and the model card to `workdir`/out.

    Returns the result of the training with the files, and with what was measured of the ONNX files.
    """
    out = workdir / "out"
    # Equal runs must give equal student files, so they contain no times and no counts that depend on earlier attempts.
    excluded = {"train_seconds", "training_seconds", "teacher_forwards", "teacher_cache_hits", "artifacts"}
    excluded |= {"int8_change", "int8_validation_change", "onnx_bytes", "onnx_latency_ms", "int8_in_float", "correct"}
    metrics = training.result.model_dump(mode="json", exclude=excluded)
    path = out / "student.safetensors"
    save_student(
        path,
        training.weights,
        structure=training.structure,
        spec=training.spec,
        normalization=training.normalization,
        class_names=training.dataset.class_names,
        metrics=metrics,
    )
    report = _report(training, path, on_event)
    write_durably(out / "report.json", report.model_dump_json(indent=2).encode())
    write_durably(out / "report.html", page(report).encode())
    write_durably(out / "MODEL_CARD.md", model_card(report, training.spec).encode())
    exports = [exported.file for exported in report.exports if exported.size is not None]
    if (out / TEACHER_FILE).exists():
        exports.append(TEACHER_FILE)
    names = [path.name, *exports, "report.json", *_damage(training, out), "report.html", "MODEL_CARD.md"]
    return training.result.model_copy(
        update={
            "artifacts": [describe_file(workdir, out / name) for name in names],
            "int8_change": _int8_change(report),
            "int8_validation_change": _int8_validation_change(report),
            "onnx_bytes": _onnx_bytes(report),
            "onnx_latency_ms": _onnx_latency_ms(report),
            "int8_in_float": _int8_in_float(report),
        }
    )


def _damage(training: TrainingResult, out: Path) -> list[str]:
    if training.evaluated is None:
        return []
    dataset = training.dataset
    return write_damage(
        out,
        training.evaluated,
        dataset.class_names,
        thumbnail_side=dataset.image_size or MAX_SIDE,
        with_gallery=training.spec.report.gallery,
    )


def _int8_change(report: Report) -> float | None:
    scores = report.test or report.validation
    top1 = next((exported.top1 for exported in report.exports if exported.format == "onnx_int8"), None)
    return None if top1 is None or scores is None else top1 - scores.student.top1


def _int8_validation_change(report: Report) -> float | None:
    quantization = _quantization(report)
    top1 = None if quantization is None else quantization.validation_top1
    return None if top1 is None else top1 - report.validation.student.top1


def _onnx_bytes(report: Report) -> dict[Literal["fp32", "int8"], int]:
    sizes: dict[Literal["fp32", "int8"], int] = {}
    for file in report.exports:
        if file.size is not None and (file.precision == "fp32" or file.precision == "int8"):
            sizes[file.precision] = file.size
    return sizes


def _onnx_latency_ms(report: Report) -> dict[Literal["fp32", "int8"], float]:
    found: dict[Literal["fp32", "int8"], float] = {}
    for each in report.measurements:
        if (each.batch, each.threads) == (1, 1) and (each.precision == "fp32" or each.precision == "int8"):
            found[each.precision] = round(each.p50_ms, 4)
    return found


def _int8_in_float(report: Report) -> bool | None:
    quantization = _quantization(report)
    if quantization is None:
        return None
    # Quantization-aware training quantizes all layers.
    trained = quantization.aware is not None and quantization.aware.exported
    return bool(quantization.chosen.float_layers) and not trained


def _quantization(report: Report) -> Quantization | None:
    return next((each.quantization for each in report.exports if each.quantization is not None), None)


def _report(training: TrainingResult, path: Path, on_event: Callable[[Event], None]) -> Report:
    """The report, measured on the student as loaded from its file."""
    student = load_student(path)
    described = describe_model(
        student.structure,
        student.preprocess,
        parameters=training.result.student_parameters,
        file_bytes=path.stat().st_size,
    )
    dataset, result, spec = training.dataset, training.result, training.spec
    evaluated = dataset.test or dataset.validation
    assert evaluated is not None, "read_dataset holds images out where there is no validation split"
    scores = (training.test if dataset.test else None) or training.validation
    source = ExportSource(
        student=student,
        train=dataset.train,
        validation=dataset.validation or evaluated,
        split="test" if dataset.test else "validation",
        evaluated=evaluated,
        top1=scores.student.top1,
        quantize=spec.quantize,
        tune=training.tune,
    )
    exports = write_exports(source, exported(spec.exports, spec.quantize), path.parent, on_event)
    measured = measure_exports(path.parent, exports, training.teachers, on_event, keep_teacher=spec.report.teacher_onnx)
    return Report(
        name=spec.name,
        student=described,
        teacher=training.teacher,
        compression_ratio=training.teacher.parameters / described.parameters if training.teacher else None,
        device=describe_device(training.device),
        validation=training.validation,
        test=training.test,
        exports=exports,
        measurements=measured.student,
        teacher_measurements=measured.teacher,
        profiles=measured.profiles,
        recommendations=recommend(
            _shippable(exports),
            [each.timing for each in measured.student],
            accepted_drop=spec.quantize.accept_drop,
        ),
        run=Run(
            method=spec.method.kind,
            epochs=spec.training.epoch_count,
            best_epoch=result.best_epoch,
            steps=result.steps,
            train_images=len(dataset.train),
            unlabelled_images=len(dataset.train.without_label),
            seconds=result.train_seconds,
            training_seconds=result.training_seconds,
            estimate=training.estimate,
            teacher_forwards=result.teacher_forwards,
            teacher_cache_hits=result.teacher_cache_hits,
            reproducible=spec.training.reproducible,
        ),
    )


def _shippable(exports: Sequence[ExportedFile]) -> list[ShippableFile]:
    return files_of({"exports": [each.model_dump() for each in exports]})


def describe_file(workdir: Path, path: Path) -> Artifact:
    """The artifact of a file in the work directory."""
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return Artifact(
        name=path.name,
        path=str(path.relative_to(workdir)),
        media_type=_MEDIA_TYPES[path.suffix],
        size=path.stat().st_size,
        sha256=digest,
    )
