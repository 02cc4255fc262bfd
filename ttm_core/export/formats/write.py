"""Exports the student to the formats of a spec. A failed format is missing; the report has the reason."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, assert_never

import numpy as np
from torch import Tensor

from ttm_core.data.dataset import Split
from ttm_core.export.formats.agreement import agreement, top1
from ttm_core.export.formats.fp16 import write_fp16
from ttm_core.export.formats.int8 import Int8Images, Tune, write_int8
from ttm_core.export.formats.program import load_program, write_program
from ttm_core.export.formats.timm_folder import NotInTimm, write_timm_zip
from ttm_core.export.onnx import OnnxModel, without_normalization, write_onnx
from ttm_core.export.student import Student
from ttm_core.report.schema import ExportedFile, Quantization
from ttm_core.spec.events import Event, Log
from ttm_core.spec.job import ExportName
from ttm_core.spec.speed.quantize import QuantizeSpec
from ttm_core.spec.speed.verdict import Precision
from ttm_core.training.trainer import Interrupted

FILES: dict[ExportName, str] = {
    "timm": "student-timm.zip",
    "onnx": "student.onnx",
    "onnx_fp16": "student-fp16.onnx",
    "onnx_int8": "student-int8.onnx",
    "pt2": "student.pt2",
}
_CHECKED_IMAGES = 7
_LONGEST_REASON = 300


@dataclass(frozen=True)
class ExportSource:
    """A student on the CPU, and the images that calibrate, choose and evaluate its exports. `top1` is on the last."""

    student: Student
    train: Split
    validation: Split
    split: Literal["validation", "test"]
    evaluated: Split
    top1: float
    quantize: QuantizeSpec
    tune: Tune | None = None


def write_exports(
    source: ExportSource, formats: list[ExportName], folder: Path, on_event: Callable[[Event], None]
) -> list[ExportedFile]:
    """Writes the formats to `folder`, each file completely or not at all, and logs each.

    Raises:
        OSError: the disk is full or not writable.
        MemoryError: there is not enough memory.
        Interrupted: a stop was requested during quantization-aware training.
    """
    written = []
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        for name in dict.fromkeys(formats):
            try:
                exported = _write(source, name, Path(temporary))
            except (OSError, MemoryError, Interrupted):
                raise
            except NotInTimm as error:
                written.append(ExportedFile(format=name, file=FILES[name], reason=str(error)))
            except Exception as error:  # the exporters raise any exception for operators they do not support
                reason = f"{type(error).__name__}: {error}".partition("\n")[0][:_LONGEST_REASON]
                on_event(Log(level="warning", message=f"{FILES[name]} could not be exported: {reason}"))
                written.append(ExportedFile(format=name, file=FILES[name], reason=reason))
            else:
                on_event(Log(message=f"exported {exported.file}"))
                written.append(exported)
        for exported in written:
            if exported.size is not None:
                (Path(temporary) / exported.file).rename(folder / exported.file)
    return written


def _write(source: ExportSource, name: ExportName, folder: Path) -> ExportedFile:
    path = folder / FILES[name]
    match name:
        case "timm":
            write_timm_zip(source.student, path)
            values = _Values()
        case "onnx":
            values = _Values(precision="fp32", difference=_write_onnx(source, path), top1=source.top1)
        case "onnx_fp16":
            scale = without_normalization(source.student.preprocess)
            images = [scale(image[None]).numpy() for image in _checked_images(source)]
            write_fp16(_float_onnx(source, folder), path, images)
            model = OnnxModel(path)
            same = agreement(source.student, model, source.evaluated)
            values = _Values(precision="fp16", top1=top1(model, source.evaluated, scale), agreement=same)
        case "onnx_int8":
            pixels = without_normalization(source.student.preprocess)
            splits = Int8Images(source.train, source.validation, pixels)
            quantization = write_int8(_float_onnx(source, folder), path, splits, source.quantize, source.tune)
            accuracy = quantization.validation_top1
            if source.split != "validation":
                accuracy = top1(OnnxModel(path), source.evaluated, pixels)
            values = _Values(precision="int8", top1=accuracy, quantization=quantization)
        case "pt2":
            difference = write_program(source.student, path, _checked_images(source))
            same = agreement(source.student, load_program(path), source.evaluated)
            values = _Values(difference=difference, top1=source.top1, agreement=same)
        case _:
            assert_never(name)
    return ExportedFile(
        format=name,
        file=path.name,
        size=path.stat().st_size,
        split=source.split if values.top1 is not None else None,
        **vars(values),
    )


@dataclass(frozen=True)
class _Values:
    """What was measured on a file."""

    precision: Precision | None = None
    difference: float | None = None
    top1: float | None = None
    agreement: float | None = None
    quantization: Quantization | None = None


def _float_onnx(source: ExportSource, folder: Path) -> Path:
    """The float32 ONNX file, which is temporary unless it is exported itself."""
    path = folder / FILES["onnx"]
    if not path.exists():
        _write_onnx(source, path)
    return path


def _write_onnx(source: ExportSource, path: Path) -> float:
    # Renamed after the check, so that other formats never start from a file that failed it.
    unchecked = path.with_suffix(".unchecked")
    difference = write_onnx(source.student, unchecked, _checked_images(source))
    unchecked.rename(path)
    return difference


def _checked_images(source: ExportSource) -> Tensor:
    indices = source.evaluated.indices[np.arange(_CHECKED_IMAGES) % len(source.evaluated)]
    return source.evaluated.images.center_squares(indices, source.student.preprocess.image_size)
