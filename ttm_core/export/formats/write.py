"""Exports the student to the formats of a spec. A failed format is missing; the report has the reason."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, assert_never

import numpy as np
import torch

from ttm_core.data.dataset import Split
from ttm_core.export.formats.int8 import Int8Images, Tune, write_int8
from ttm_core.export.formats.timm_folder import NotInTimm, write_timm_zip
from ttm_core.export.onnx import OnnxModel, without_normalization, write_onnx
from ttm_core.export.student import Student
from ttm_core.report.schema import ExportedFile
from ttm_core.spec.events import Event, Log
from ttm_core.spec.job import ExportName
from ttm_core.spec.speed.quantize import QuantizeSpec
from ttm_core.spec.speed.verdict import Precision
from ttm_core.training.evaluate import evaluate
from ttm_core.training.trainer import Interrupted

FILES: dict[ExportName, str] = {
    "timm": "student-timm.zip",
    "onnx": "student.onnx",
    "onnx_int8": "student-int8.onnx",
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
    difference = top1 = quantization = None
    precision: Precision | None = None
    match name:
        case "timm":
            write_timm_zip(source.student, path)
        case "onnx":
            difference = _write_onnx(source, path)
            precision, top1 = "fp32", source.top1
        case "onnx_int8":
            float_onnx = folder / FILES["onnx"]
            if not float_onnx.exists():
                _write_onnx(source, float_onnx)
            pixels = without_normalization(source.student.preprocess)
            images = Int8Images(source.train, source.validation, pixels)
            quantization = write_int8(float_onnx, path, images, source.quantize, source.tune)
            accuracy = evaluate(
                OnnxModel(path), source.evaluated, pixels, size=pixels.image_size, device=torch.device("cpu")
            )
            precision, top1 = "int8", accuracy.top1
        case _:
            assert_never(name)
    return ExportedFile(
        format=name,
        file=path.name,
        size=path.stat().st_size,
        difference=difference,
        precision=precision,
        top1=top1,
        split=source.split if top1 is not None else None,
        quantization=quantization,
    )


def _write_onnx(source: ExportSource, path: Path) -> float:
    size = source.student.preprocess.image_size
    indices = source.evaluated.indices[np.arange(_CHECKED_IMAGES) % len(source.evaluated)]
    pixels = source.evaluated.images.center_squares(indices, size)
    # Renamed after the check, so that onnx_int8 never starts from a file that failed it.
    unchecked = path.with_suffix(".unchecked")
    difference = write_onnx(source.student, unchecked, pixels)
    unchecked.rename(path)
    return difference
