"""The screening stage of a study: builds, exports and measures its students without training."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import onnxruntime  # type: ignore[import-untyped]
import torch

from ttm_core.errors import EngineError
from ttm_core.export.artifacts import describe_file
from ttm_core.models.weights import write_durably
from ttm_core.pipeline.context import RunContext
from ttm_core.pipeline.decisions.resolve import ResolvedRun, resolve_run
from ttm_core.report.costs import describe_device
from ttm_core.spec import events
from ttm_core.spec.events import CandidateScreened, ScreenedFile
from ttm_core.spec.job import DistillSpec, StudentSpec
from ttm_core.study.untrained import export_untrained
from ttm_core.training.trainer import Interrupted
from ttm_measure import compare

_LONGEST_REASON = 300
_RELATIVE_ERROR = 0.05
_MEASURED_SECONDS = 0.5


def screen(spec: DistillSpec, context: RunContext) -> None:
    """Emits one `candidate_screened` event per student of the run's options.

    With `publish_files`, the files are kept for another device, and their latency is not measured here. A student that
    cannot be built or exported gets an error instead of measurements. Measurements are cached on this machine by
    everything that decides them.

    Raises:
        EngineError: the data or the teacher cannot be used.
        Interrupted: a stop was requested. The measurements so far are cached.
    """
    run = resolve_run(spec, context)
    context.phase("exporting")
    published: list[events.Artifact] = []
    for students in context.options.students:
        if context.should_stop():
            raise Interrupted(0)
        student = students.student
        with context.activity("measuring a student"):
            if context.options.publish_files:
                screened = _publish(student, students.numbers[0], run, context, published)
            else:
                screened = _cached(student, run, context)
        context.on_event(screened.model_copy(update={"numbers": students.numbers}))
    context.on_event(events.StageFinished(artifacts=published))


def _publish(
    student: StudentSpec,
    number: int,
    run: ResolvedRun,
    context: RunContext,
    published: list[events.Artifact],
) -> CandidateScreened:
    """Exports a student to `out/candidate-NUMBER.onnx` and `out/candidate-NUMBER-int8.onnx`."""
    out = context.workdir / "out"
    out.mkdir(exist_ok=True)

    def export() -> CandidateScreened:
        exported = export_untrained(student, run, context, out, f"candidate-{number}")
        published.extend(describe_file(context.workdir, path) for path in exported.files.values())
        files = [
            ScreenedFile(precision=precision, bytes=path.stat().st_size, latency_ms=None)
            for precision, path in exported.files.items()
        ]
        return CandidateScreened(numbers=[], parameters=exported.parameters, macs=exported.macs, files=files)

    return _or_error(export)


def _cached(student: StudentSpec, run: ResolvedRun, context: RunContext) -> CandidateScreened:
    key = {
        "student": student.model_dump(mode="json"),
        "classes": run.dataset.num_classes,
        "input": [run.preprocess.channels, run.dataset.image_size],
        # A student made of the teacher has its channels.
        "teacher": student.from_teacher and [_sha256(path) for path in context.inputs.teachers if path is not None],
        "device": describe_device(torch.device("cpu")).model_dump(),
        "versions": [torch.__version__, onnxruntime.__version__],
    }
    digest = hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()
    folder = context.options.screen_cache
    path = None if folder is None else folder / f"{digest}.json"
    if path is not None and path.exists():
        found = CandidateScreened.model_validate_json(path.read_bytes())
        return found.model_copy(update={"cached": True})
    measured = _or_error(lambda: _measure(student, run, context))
    if path is not None and measured.error is None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, measured.model_dump_json().encode())
    return measured


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _measure(student: StudentSpec, run: ResolvedRun, context: RunContext) -> CandidateScreened:
    with TemporaryDirectory(dir=context.workdir) as folder:
        exported = export_untrained(student, run, context, Path(folder), "student")
        paths = list(exported.files.values())
        measured = compare(paths, relative_error=_RELATIVE_ERROR, seconds=_MEASURED_SECONDS)
        files = [
            ScreenedFile(precision=precision, bytes=path.stat().st_size, latency_ms=round(result.p50_ms, 4))
            for (precision, path), result in zip(exported.files.items(), measured, strict=True)
        ]
    return CandidateScreened(
        numbers=[],
        parameters=exported.parameters,
        macs=exported.macs,
        files=files,
        device=measured[0].cpu,
        runtime=f"onnxruntime {measured[0].runtime_version}",
    )


def _or_error(screen_student: Callable[[], CandidateScreened]) -> CandidateScreened:
    try:
        return screen_student()
    except (OSError, MemoryError):
        raise
    except EngineError as error:
        return CandidateScreened(numbers=[], error=error.message[:_LONGEST_REASON])
    except Exception as error:  # models and exporters raise any exception for what they do not support
        reason = f"{type(error).__name__}: {error}".partition("\n")[0][:_LONGEST_REASON]
        return CandidateScreened(numbers=[], error=f"cannot be built or exported: {reason}")
