"""ONNX files of untrained students, with the sizes and the speed of trained ones."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from ttm_core.errors import BadSpec
from ttm_core.export.formats.int8 import write_uncompared_int8
from ttm_core.export.onnx import without_normalization, write_onnx
from ttm_core.export.student import Student
from ttm_core.models.build import build
from ttm_core.models.macs import macs
from ttm_core.models.preprocess import Preprocess
from ttm_core.pipeline.context import RunContext
from ttm_core.pipeline.decisions.resolve import ResolvedRun
from ttm_core.pipeline.student.base import StudentBase, student_base
from ttm_core.pipeline.student.initial import initial_student
from ttm_core.pipeline.student.input import image_size, input_channels, normalization
from ttm_core.spec.job import DistillSpec, StudentSpec
from ttm_core.spec.structure import ModelStructure

# Sizes and latency do not depend on the ranges of activations, so few images suffice.
_CALIBRATION_IMAGES = 8
_CHECKED_IMAGES = 2
_NOISE = 0.01


@dataclass(frozen=True)
class UntrainedStudent:
    """A student to export. Exporting it reads no more of the run's data, teachers and decoding threads.

    `images` are uint8 [B, C, H, W].
    """

    structure: ModelStructure
    preprocess: Preprocess
    class_names: list[str]
    images: Tensor


@dataclass(frozen=True)
class UntrainedFiles:
    """The ONNX files of an untrained student by precision, its size, and why there is no int8 file."""

    files: Mapping[Literal["fp32", "int8"], Path]
    parameters: int
    macs: int | None
    no_int8: str | None


def untrained_student(student: StudentSpec, run: ResolvedRun, context: RunContext) -> UntrainedStudent:
    """Determines the structure of a student and reads the images that its export needs.

    Raises any exception for a student that cannot be built.
    """
    run = _with_student(run, student, context)
    structure = initial_student(run, context, None).structure
    train = run.dataset.train
    return UntrainedStudent(
        structure=structure,
        preprocess=run.preprocess,
        class_names=run.dataset.class_names,
        images=train.images.center_squares(train.indices[:_CALIBRATION_IMAGES], run.preprocess.image_size),
    )


def export_untrained(student: UntrainedStudent, folder: Path, name: str) -> UntrainedFiles:
    """Writes `folder/name.onnx` and, where the quantizer supports the student, `folder/name-int8.onnx`.

    Raises any exception for a student that cannot be built or exported, OSError if the disk is full.
    """
    structure, preprocess = student.structure, student.preprocess
    model = _as_if_trained(build(structure)).eval()
    float_file, int8_file = folder / f"{name}.onnx", folder / f"{name}-int8.onnx"
    exported = Student(model, structure, student.class_names, preprocess, metadata={})
    write_onnx(exported, float_file, student.images[:_CHECKED_IMAGES])
    files: dict[Literal["fp32", "int8"], Path] = {"fp32": float_file}
    no_int8 = None
    try:
        write_uncompared_int8(float_file, int8_file, student.images, without_normalization(preprocess))
        files["int8"] = int8_file
    except (OSError, MemoryError):
        raise
    except Exception as error:  # the quantizer raises any exception for operators that it does not support
        no_int8 = f"{type(error).__name__}: {error}"
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return UntrainedFiles(files, parameters, macs(structure, preprocess.image_size), no_int8)


def _with_student(run: ResolvedRun, student: StudentSpec, context: RunContext) -> ResolvedRun:
    """The run with another student and its own input."""
    spec = run.spec.model_copy(update={"student": student})
    base = _base(spec, context)
    teacher = run.teachers[0] if run.teachers else None
    channels = input_channels(spec, run.dataset, base, teacher)
    preprocess = replace(
        run.preprocess,
        channels=channels,
        image_size=image_size(spec, run.dataset, base),
        normalization=normalization(spec, run.dataset, teacher, base, channels),
    )
    return replace(run, spec=spec, student=base, preprocess=preprocess)


def _base(spec: DistillSpec, context: RunContext) -> StudentBase:
    """What the student starts from. Its weights do not matter, so the files of checkpoints are not read."""
    student = spec.student
    if student.checkpoint is None:
        return student_base(spec, context.inputs, context.data_cache)
    name = student.named_architecture
    if name is None:
        raise BadSpec("a candidate with a checkpoint requires `architecture`, which its measurements depend on")
    return StudentBase(name)


@torch.no_grad()
def _as_if_trained(model: nn.Module) -> nn.Module:
    """Adds noise to all parameters and running statistics: exporters remove and merge tensors that are still zero or
    equal, which would make the files smaller than those of a trained student.
    """
    source = torch.Generator().manual_seed(0)
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.is_floating_point():
            tensor.add_(torch.rand(tensor.shape, generator=source).to(tensor.dtype), alpha=_NOISE)
    return model
