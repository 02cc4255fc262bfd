"""The screening stage of a study: builds, exports and measures its students without training."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import onnxruntime  # type: ignore[import-untyped]
import torch

from ttm_core.errors import MeasuringKilled
from ttm_core.export.artifacts import describe_file
from ttm_core.files.durable import write_durably
from ttm_core.pipeline.context import RunContext
from ttm_core.pipeline.decisions.resolve import ResolvedRun, resolve_run
from ttm_core.report.costs import describe_device
from ttm_core.spec import events
from ttm_core.spec.events import CandidateScreened, ScreenedFile
from ttm_core.spec.job import DistillSpec, StudentSpec
from ttm_core.spec.study.study import STAND_IN
from ttm_core.study.exports import exports, or_reason
from ttm_core.study.untrained import UntrainedFiles, UntrainedStudent, untrained_student
from ttm_core.training.trainer import Interrupted
from ttm_measure import MeasureError, compare

_RELATIVE_ERROR = 0.05
_MEASURED_SECONDS = 0.5
# Files are deleted after so many students per process.
_STUDENTS_PER_PROCESS = 4


@dataclass(frozen=True)
class _Unmeasured:
    """A student to measure, the candidates that it is part of, and the file that caches its measurements, if any."""

    student: StudentSpec
    numbers: list[int]
    cache: Path | None


def screen(spec: DistillSpec, context: RunContext) -> None:
    """Emits one `candidate_screened` event per student of the run's options.

    With `publish_files`, the files are kept for another device, and their latency is not measured here. A student that
    cannot be built or exported gets an error instead of measurements. Measurements are cached on this machine by
    everything that decides them.

    Raises:
        EngineError: the data or the teacher cannot be used, or measuring processes are killed from outside.
        Interrupted: a stop was requested. The measurements so far are cached.
    """
    run = resolve_run(_with_stand_in(spec), context)
    context.phase("exporting")
    published: list[events.Artifact] = []
    for students in _batches(_unmeasured(run, context), _STUDENTS_PER_PROCESS * _processes(context)):
        _screen_batch(students, run, context, published)
    context.on_event(events.StageFinished(artifacts=published))


def _with_stand_in(spec: DistillSpec) -> DistillSpec:
    """The spec with another student, since one that cannot be built must not fail the others.

    The job's spec has the student of the first candidate, which may be just that one.
    """
    student = StudentSpec(architecture=STAND_IN, image_size=spec.student.image_size)
    return spec.model_copy(update={"student": student})


def _unmeasured(run: ResolvedRun, context: RunContext) -> Sequence[_Unmeasured]:
    """The students without cached measurements; emits the others."""
    left = []
    for each in context.options.students:
        path = None if context.options.publish_files else _cache_path(each.student, run, context)
        if path is not None and path.exists():
            found = CandidateScreened.model_validate_json(path.read_bytes())
            context.on_event(found.model_copy(update={"numbers": each.numbers, "cached": True}))
        else:
            left.append(_Unmeasured(each.student, each.numbers, path))
    return left


def _screen_batch(
    batch: Sequence[_Unmeasured], run: ResolvedRun, context: RunContext, published: list[events.Artifact]
) -> None:
    """Exports students by several processes, then measures them one after another, while nothing else runs."""

    def check_stop() -> None:
        if context.should_stop():
            raise Interrupted(0)

    def report(each: _Unmeasured, screened: CandidateScreened) -> None:
        context.on_event(screened.model_copy(update={"numbers": each.numbers}))

    buildable: list[tuple[_Unmeasured, UntrainedStudent]] = []
    for each in batch:
        check_stop()
        student = or_reason(partial(untrained_student, each.student, run, context))
        if isinstance(student, str):
            report(each, CandidateScreened(numbers=[], error=student))
        else:
            buildable.append((each, student))
    with TemporaryDirectory(dir=context.workdir) as folder:
        exported: list[UntrainedFiles | str] = []
        with (
            exports([student for _, student in buildable], Path(folder), _processes(context)) as found,
            context.activity("exporting students"),
        ):
            for files in found:
                exported.append(files)
                check_stop()
        for (each, _), files in zip(buildable, exported, strict=True):
            check_stop()
            if isinstance(files, str):
                report(each, CandidateScreened(numbers=[], error=files))
                continue
            if files.no_int8 is not None:
                context.log(f"no int8 file: {files.no_int8}")
            if context.options.publish_files:
                report(each, _publish(each.numbers[0], files, context, published))
                continue
            with context.activity("measuring a student"):
                measured = or_reason(partial(_measure, files))
            if isinstance(measured, str):
                measured = CandidateScreened(numbers=[], error=measured)
            elif each.cache is not None:
                each.cache.parent.mkdir(parents=True, exist_ok=True)
                write_durably(each.cache, measured.model_dump_json().encode())
            report(each, measured)


def _processes(context: RunContext) -> int:
    """The number of processes that export students. Copies of a process cannot use its GPU."""
    return min(context.options.processes, context.threads) if context.device.type == "cpu" else 1


def _batches(students: Sequence[_Unmeasured], size: int) -> Iterator[Sequence[_Unmeasured]]:
    for start in range(0, len(students), size):
        yield students[start : start + size]


def _publish(
    number: int, exported: UntrainedFiles, context: RunContext, published: list[events.Artifact]
) -> CandidateScreened:
    """Moves the files to `out/candidate-NUMBER.onnx` and `out/candidate-NUMBER-int8.onnx`."""
    out = context.workdir / "out"
    out.mkdir(exist_ok=True)
    files = []
    for precision, path in exported.files.items():
        kept = path.rename(out / f"candidate-{number}{'' if precision == 'fp32' else f'-{precision}'}.onnx")
        published.append(describe_file(context.workdir, kept))
        files.append(ScreenedFile(precision=precision, bytes=kept.stat().st_size, latency_ms=None))
    return CandidateScreened(numbers=[], parameters=exported.parameters, macs=exported.macs, files=files)


def _measure(exported: UntrainedFiles) -> CandidateScreened:
    paths = list(exported.files.values())
    try:
        measured = compare(paths, relative_error=_RELATIVE_ERROR, seconds=_MEASURED_SECONDS)
    except MeasureError as error:
        if error.code == "killed":
            raise MeasuringKilled(error.message) from error
        raise
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


def _cache_path(student: StudentSpec, run: ResolvedRun, context: RunContext) -> Path | None:
    """The file of a student's measurements on this machine; None without a folder for them."""
    if context.options.screen_cache is None:
        return None
    key = {
        "student": student.model_dump(mode="json"),
        # The files contain the names of the classes and the normalization.
        "classes": run.dataset.class_names,
        "input": [run.preprocess.channels, run.dataset.image_size, run.preprocess.normalization.model_dump()],
        # A pruned student has channels of the teacher. Files from the Hub are not among the inputs of the run.
        "teacher": student.from_teacher and _teachers(run),
        "images": _ranks_by_images(student) and run.dataset.train.images.fingerprint(),
        "device": describe_device(torch.device("cpu")).model_dump(),
        "versions": [torch.__version__, onnxruntime.__version__],
    }
    digest = hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()
    return context.options.screen_cache / f"{digest}.json"


def _teachers(run: ResolvedRun) -> list[list[object]]:
    """The teachers' files, and which of their models is read with which layers."""
    fields = {"architecture", "checkpoint_key", "key_map", "image_size"}
    return [
        [_sha256(path), teacher.model_dump(mode="json", include=fields)]
        for path, teacher in zip(run.teacher_files, run.spec.all_teachers, strict=True)
    ]


def _ranks_by_images(student: StudentSpec) -> bool:
    """Whether the channels that pruning removes depend on the training images."""
    return student.prune is not None and (student.prune.importance == "taylor" or student.prune.steps > 1)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
