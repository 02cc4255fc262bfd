"""The student in the forms that a spec asks for. One that cannot be made is missing, with its reason."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, assert_never

import numpy as np
import torch

from ttm_core.data.dataset import Split
from ttm_core.export.int8 import write_int8
from ttm_core.export.onnx import OnnxModel, pixels_of, write_onnx
from ttm_core.export.student import Student
from ttm_core.export.timm_folder import NotInTimm, write_timm_zip
from ttm_core.report.schema import ExportedFile
from ttm_core.spec.events import Event, Log
from ttm_core.spec.job import ExportName
from ttm_core.training.evaluate import evaluate

FILES: dict[ExportName, str] = {
    "timm": "student-timm.zip",
    "onnx": "student.onnx",
    "onnx_int8": "student-int8.onnx",
}
_CHECKED_IMAGES = 7
_LONGEST_REASON = 300


@dataclass(frozen=True)
class Source:
    """What the forms are made of: a student on the CPU, images to calibrate with, and those to be judged on."""

    student: Student
    train: Split
    split: Literal["validation", "test"]
    judged: Split


def write_forms(
    source: Source, wanted: list[ExportName], folder: Path, on_event: Callable[[Event], None]
) -> list[ExportedFile]:
    """Write the wanted files into `folder`, each whole or not at all, and tell of each.

    Raises:
        OSError: the disk is full, or not to be written to.
        MemoryError: there is too little memory.
    """
    written = []
    with tempfile.TemporaryDirectory(dir=folder) as made:
        for name in dict.fromkeys(wanted):
            try:
                form = _write(source, name, Path(made))
            except (OSError, MemoryError):
                raise
            except NotInTimm as error:
                written.append(ExportedFile(format=name, file=FILES[name], reason=str(error)))
            except Exception as error:  # the exporters raise whatever an operator that they do not know makes them
                reason = f"{type(error).__name__}: {error}".partition("\n")[0][:_LONGEST_REASON]
                on_event(Log(level="warning", message=f"{FILES[name]} could not be made: {reason}"))
                written.append(ExportedFile(format=name, file=FILES[name], reason=reason))
            else:
                on_event(Log(message=f"exported {form.file}"))
                written.append(form)
        for form in written:
            if form.size is not None:
                (Path(made) / form.file).rename(folder / form.file)
    return written


def _write(source: Source, name: ExportName, made: Path) -> ExportedFile:
    path = made / FILES[name]
    difference = top1 = images = None
    match name:
        case "timm":
            write_timm_zip(source.student, path)
        case "onnx":
            difference = _write_onnx(source, path)
        case "onnx_int8":
            exact = made / FILES["onnx"]
            if not exact.exists():
                _write_onnx(source, exact)
            pixels = pixels_of(source.student.preprocess)
            images = write_int8(exact, path, source.train, pixels)
            seen = evaluate(OnnxModel(path), source.judged, pixels, size=pixels.image_size, device=torch.device("cpu"))
            top1 = seen.top1
        case _:
            assert_never(name)
    return ExportedFile(
        format=name,
        file=path.name,
        size=path.stat().st_size,
        difference=difference,
        top1=top1,
        split=source.split if top1 is not None else None,
        calibration_images=images,
    )


def _write_onnx(source: Source, path: Path) -> float:
    size = source.student.preprocess.image_size
    indices = source.judged.indices[np.arange(_CHECKED_IMAGES) % len(source.judged)]
    pixels = source.judged.images.whole(indices, size)
    # A file that did not pass must not be taken for one that did.
    unchecked = path.with_suffix(".unchecked")
    difference = write_onnx(source.student, unchecked, pixels)
    unchecked.rename(path)
    return difference
