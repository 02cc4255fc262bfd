"""Measures the exported ONNX files in ONNX Runtime on this machine, next to the teacher's. Failures are logged only."""

import copy
import os
import platform
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ttm_core.export.onnx import write_unchecked
from ttm_core.models.teachers.load import Teacher
from ttm_core.report.schema import ExportedFile
from ttm_core.spec.damage.files import TEACHER_FILE
from ttm_core.spec.events import Event, Log, Measured
from ttm_core.spec.speed.measurement import FileMeasurement, FileProfile, PartTime
from ttm_core.training.devices import usable_threads
from ttm_measure import Limits, MeasureError, Shape, compare, profile

_BATCHES = (1, 32)
_SECONDS = 1.0
_RELATIVE_ERROR = 0.02
_LIMITS = Limits(memory_bytes=8 * 2**30, seconds=120.0)
# An ONNX file has at most 2 GB.
_LARGEST_TEACHER = 400_000_000
_LARGEST_KEPT_TEACHER_BYTES = 200_000_000
_MOST_LAYERS = 24
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]+")
_LONGEST_NAME = 64


@dataclass(frozen=True)
class Measurements:
    """Measurements and profiles of the student's files, and measurements of the teacher's graph."""

    student: list[FileMeasurement]
    teacher: list[FileMeasurement]
    profiles: list[FileProfile]


def measure_exports(
    folder: Path,
    exports: Sequence[ExportedFile],
    teachers: Sequence[Teacher],
    on_event: Callable[[Event], None],
    *,
    keep_teacher: bool,
) -> Measurements:
    """Measures the ONNX files in `folder` at batch 1 and 32 with one and all threads, and emits each measurement.

    At batch 1 also the teacher, if it is one model that can be exported. Files are compared in alternating blocks of
    one process per shape. Each shape takes about a second per file, and at most two minutes.

    With `keep_teacher`, leaves the teacher's ONNX file in `folder` if it has at most 200 MB.
    """
    paths = [folder / each.file for each in exports if each.precision is not None and each.size is not None]
    if not paths:
        return Measurements([], [], [])
    found: list[FileMeasurement] = []
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        teacher = _export_teacher(teachers, Path(temporary), on_event)
        for shape in _shapes():
            found += _compare([*paths, *([teacher] if teacher and shape.batch == 1 else [])], shape, on_event)
        if teacher is not None and keep_teacher and teacher.stat().st_size <= _LARGEST_KEPT_TEACHER_BYTES:
            teacher.rename(folder / TEACHER_FILE)
    for each in found:
        if each.file != TEACHER_FILE:
            on_event(Measured(measurement=each))
    return Measurements(
        student=[each for each in found if each.file != TEACHER_FILE],
        teacher=[each for each in found if each.file == TEACHER_FILE],
        profiles=[profiled for path in paths if (profiled := _profile(path, on_event)) is not None],
    )


def _shapes() -> list[Shape]:
    return list(dict.fromkeys(Shape(batch, threads) for batch in _BATCHES for threads in (1, usable_threads())))


def _export_teacher(teachers: Sequence[Teacher], folder: Path, on_event: Callable[[Event], None]) -> Path | None:
    if len(teachers) != 1 or teachers[0].parameters > _LARGEST_TEACHER:
        return None
    path = folder / TEACHER_FILE
    try:
        write_unchecked(copy.deepcopy(teachers[0].model).cpu().float(), teachers[0].preprocess, path)
    except Exception as error:  # the exporter raises any exception for operators it does not support
        on_event(Log(message=f"the teacher is not measured: {type(error).__name__} in the export to ONNX"))
        return None
    return path


def _compare(paths: Sequence[Path], shape: Shape, on_event: Callable[[Event], None]) -> list[FileMeasurement]:
    where = f"batch {shape.batch}, threads {shape.threads}"
    try:
        results = compare(paths, [shape], relative_error=_RELATIVE_ERROR, seconds=_SECONDS, limits=_LIMITS)
    except (MeasureError, OSError) as error:
        on_event(Log(level="warning", message=f"latency at {where} was not measured: {error}"))
        return []
    on_event(Log(message=f"measured latency at {where}"))
    device = device_name()
    return [
        FileMeasurement(file=path.name, device=device, **result.model_dump())
        for path, result in zip(paths, results, strict=True)
    ]


def _profile(path: Path, on_event: Callable[[Event], None]) -> FileProfile | None:
    try:
        result = profile(path, limits=_LIMITS)
    except (MeasureError, OSError) as error:
        on_event(Log(level="warning", message=f"{path.name} was not profiled: {error}"))
        return None
    return FileProfile(
        file=path.name,
        precision=result.precision,
        batch=result.batch,
        threads=result.threads,
        layers=_parts(coarsen(result.by_layer(), _MOST_LAYERS)),
        operators=_parts(result.by_operator()),
    )


def device_name() -> str:
    """The name of this machine among measured devices: TTM_DEVICE_NAME, else the host name."""
    name = _NOT_IN_NAMES.sub("-", os.environ.get("TTM_DEVICE_NAME") or platform.node()).strip("-._")
    return name[:_LONGEST_NAME] or "worker"


def coarsen(layers: dict[str, float], most: int) -> dict[str, float]:
    """Adds up layers of the same block, such as `blocks.3.*`, until there are at most `most`; at most to one level."""
    depth = max((name.count(".") for name in layers), default=0) + 1
    grouped = layers
    while len(grouped) > most and depth > 1:
        depth -= 1
        grouped = {}
        for name, ms in layers.items():
            block = ".".join(name.split(".")[:depth])
            grouped[block] = grouped.get(block, 0.0) + ms
    return grouped


def _parts(times: dict[str, float]) -> list[PartTime]:
    return [PartTime(name=name, ms=round(ms, 6)) for name, ms in times.items()]
