"""The screening stage of a study: builds, exports and measures its students without training."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import onnxruntime  # type: ignore[import-untyped]
import torch
from torch import nn

from ttm_core.errors import BadSpec, EngineError
from ttm_core.export.int8 import write_uncompared_int8
from ttm_core.export.onnx import without_normalization, write_onnx
from ttm_core.export.student import Student
from ttm_core.models.build import build
from ttm_core.models.macs import macs
from ttm_core.models.weights import write_durably
from ttm_core.pipeline.context import RunContext
from ttm_core.pipeline.resolve import ResolvedRun, resolve_run
from ttm_core.pipeline.student.base import StudentBase, student_base
from ttm_core.pipeline.student.initial import initial_student
from ttm_core.pipeline.student.input import image_size
from ttm_core.report.costs import describe_device
from ttm_core.spec import catalogue, events
from ttm_core.spec.events import CandidateScreened, ScreenedFile
from ttm_core.spec.job import DistillSpec, StudentSpec
from ttm_core.training.trainer import Interrupted
from ttm_measure import compare

# Sizes and latency do not depend on the ranges of activations, so few images suffice.
_CALIBRATION_IMAGES = 8
_CHECKED_IMAGES = 2
_LONGEST_REASON = 300
_NOISE = 0.01
_RELATIVE_ERROR = 0.05
_MEASURED_SECONDS = 1.0


def screen(spec: DistillSpec, context: RunContext) -> None:
    """Emits one `candidate_screened` event per student of the run's options.

    A student that cannot be built or exported gets an error instead of measurements. Measurements are cached on this
    machine by everything that decides them.

    Raises:
        EngineError: the data or the teacher cannot be used.
        Interrupted: a stop was requested. The measurements so far are cached.
    """
    run = resolve_run(spec, context)
    context.phase("exporting")
    for students in context.options.students:
        if context.should_stop():
            raise Interrupted(0)
        with context.activity("measuring a student"):
            measured = _cached(students.student, run, context)
        context.on_event(measured.model_copy(update={"numbers": students.numbers}))
    context.on_event(events.StageFinished())


def _cached(student: StudentSpec, run: ResolvedRun, context: RunContext) -> CandidateScreened:
    device = describe_device(torch.device("cpu"))
    key = {
        "student": student.model_dump(mode="json"),
        "classes": run.dataset.num_classes,
        "input": [run.preprocess.channels, run.dataset.image_size],
        # A student made of the teacher has its channels.
        "teacher": student.from_teacher and [_sha256(path) for path in context.inputs.teachers if path is not None],
        "device": device.model_dump(),
        "versions": [torch.__version__, onnxruntime.__version__],
    }
    digest = hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()
    folder = context.options.screen_cache
    path = None if folder is None else folder / f"{digest}.json"
    if path is not None and path.exists():
        found = CandidateScreened.model_validate_json(path.read_bytes())
        return found.model_copy(update={"cached": True})
    measured = _measure(student, run, context)
    if path is not None and measured.error is None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, measured.model_dump_json().encode())
    return measured


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _measure(student: StudentSpec, run: ResolvedRun, context: RunContext) -> CandidateScreened:
    try:
        with TemporaryDirectory(dir=context.workdir) as folder:
            return _build_and_measure(_with_student(run, student, context), context, Path(folder))
    except (OSError, MemoryError):
        raise
    except EngineError as error:
        return CandidateScreened(numbers=[], error=error.message[:_LONGEST_REASON])
    except Exception as error:  # models and exporters raise any exception for what they do not support
        reason = f"{type(error).__name__}: {error}".partition("\n")[0][:_LONGEST_REASON]
        return CandidateScreened(numbers=[], error=f"cannot be built or exported: {reason}")


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
    name = student.architecture or catalogue.published_name(student.checkpoint)
    if name is None:
        raise BadSpec("a candidate with a checkpoint requires `architecture`, which its measurements depend on")
    return StudentBase(name)


def _build_and_measure(run: ResolvedRun, context: RunContext, folder: Path) -> CandidateScreened:
    preprocess = run.preprocess
    structure = initial_student(run, context, None).structure
    model = _as_if_trained(build(structure)).eval()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    train = run.dataset.train
    pixels = train.images.center_squares(train.indices[:_CHECKED_IMAGES], preprocess.image_size)
    float_file, int8_file = folder / "student.onnx", folder / "student-int8.onnx"
    # The metadata of the final file has about this size.
    metadata = {
        "structure": structure.model_dump(mode="json"),
        "spec": run.spec.model_dump(mode="json"),
        "class_names": run.dataset.class_names,
    }
    write_onnx(Student(model, structure, run.dataset.class_names, preprocess, metadata), float_file, pixels)
    files = {"fp32": float_file}
    few = replace(train, indices=train.indices[:_CALIBRATION_IMAGES])
    if _try(lambda: write_uncompared_int8(float_file, int8_file, few, without_normalization(preprocess)), context):
        files["int8"] = int8_file
    measured = compare(list(files.values()), relative_error=_RELATIVE_ERROR, seconds=_MEASURED_SECONDS)
    return CandidateScreened(
        numbers=[],
        parameters=parameters,
        macs=macs(structure, preprocess.image_size),
        files=[
            ScreenedFile.model_validate(
                {"precision": precision, "bytes": path.stat().st_size, "latency_ms": round(result.p50_ms, 4)}
            )
            for (precision, path), result in zip(files.items(), measured, strict=True)
        ],
        device=measured[0].cpu,
        runtime=f"onnxruntime {measured[0].runtime_version}",
    )


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
