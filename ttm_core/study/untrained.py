"""ONNX files of untrained students, with the sizes and the speed of trained ones."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from ttm_core.errors import BadSpec
from ttm_core.export.int8 import write_uncompared_int8
from ttm_core.export.onnx import without_normalization, write_onnx
from ttm_core.export.student import Student, public_spec
from ttm_core.models.build import build
from ttm_core.models.macs import macs
from ttm_core.pipeline.context import RunContext
from ttm_core.pipeline.decisions.resolve import ResolvedRun
from ttm_core.pipeline.student.base import StudentBase, student_base
from ttm_core.pipeline.student.initial import initial_student
from ttm_core.pipeline.student.input import image_size
from ttm_core.spec.job import DistillSpec, StudentSpec

# Sizes and latency do not depend on the ranges of activations, so few images suffice.
_CALIBRATION_IMAGES = 8
_CHECKED_IMAGES = 2
_NOISE = 0.01


@dataclass(frozen=True)
class UntrainedFiles:
    """The ONNX files of an untrained student by precision, and its size."""

    files: Mapping[Literal["fp32", "int8"], Path]
    parameters: int
    macs: int | None


def export_untrained(
    student: StudentSpec, run: ResolvedRun, context: RunContext, folder: Path, name: str
) -> UntrainedFiles:
    """Writes `folder/name.onnx` and, where the quantizer supports the student, `folder/name-int8.onnx`.

    Args:
        student: the student.
        run: a run with its data and teacher.
        context: the surroundings of the run.
        folder: where to write.
        name: of the files.

    Raises any exception for a student that cannot be built or exported.
    """
    run = _with_student(run, student, context)
    preprocess = run.preprocess
    structure = initial_student(run, context, None).structure
    model = _as_if_trained(build(structure)).eval()
    train = run.dataset.train
    pixels = train.images.center_squares(train.indices[:_CHECKED_IMAGES], preprocess.image_size)
    float_file, int8_file = folder / f"{name}.onnx", folder / f"{name}-int8.onnx"
    # The metadata of the final file has about this size.
    metadata = {
        "structure": structure.model_dump(mode="json"),
        "spec": public_spec(run.spec),
        "class_names": run.dataset.class_names,
    }
    write_onnx(Student(model, structure, run.dataset.class_names, preprocess, metadata), float_file, pixels)
    files: dict[Literal["fp32", "int8"], Path] = {"fp32": float_file}
    few = replace(train, indices=train.indices[:_CALIBRATION_IMAGES])
    if _try(lambda: write_uncompared_int8(float_file, int8_file, few, without_normalization(preprocess)), context):
        files["int8"] = int8_file
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return UntrainedFiles(files, parameters, macs(structure, preprocess.image_size))


def _with_student(run: ResolvedRun, student: StudentSpec, context: RunContext) -> ResolvedRun:
    """The run with another student at its own image size."""
    spec = run.spec.model_copy(update={"student": student})
    base = _base(spec, context)
    size = image_size(spec, run.dataset, base)
    return replace(run, spec=spec, student=base, preprocess=replace(run.preprocess, image_size=size))


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


def _try(action: Callable[[], object], context: RunContext) -> bool:
    """Whether the action succeeded; logs its error otherwise."""
    try:
        action()
    except Exception as error:  # the quantizer raises any exception for operators that it does not support
        context.log(f"no int8 file: {type(error).__name__}: {error}")
        return False
    return True
