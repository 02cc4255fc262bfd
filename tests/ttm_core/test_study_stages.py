"""Stages of a study in the engine: screening, storing the teacher's logits, and runs that pause themselves."""

import hashlib
import json
from base64 import b64decode
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import save_file

from tests.support.hub import hub_of_this_process
from tests.support.models import create_model
from tests.ttm_core import factories
from ttm_core.errors import HubUnreachable, MeasuringKilled, TeacherAtChance
from ttm_core.models.weights import write_safetensors
from ttm_core.pipeline.distill import distill
from ttm_core.spec import events
from ttm_core.spec.job import DistillSpec, StudentSpec
from ttm_core.spec.student.pruning import PruneSpec
from ttm_core.spec.study.run_options import RunOptions, ScreenedStudent
from ttm_core.study.run import run
from ttm_core.teacher_store.store import Stores
from ttm_core.training.trainer import Interrupted, ReachedEpoch
from ttm_measure import MeasureError


def sha256(workdir: Path) -> str:
    return hashlib.sha256((workdir / "out" / "student.safetensors").read_bytes()).hexdigest()


def run_stage(
    spec: DistillSpec, workdir: Path, options: RunOptions, *, stores: Stores | None = None, stops_after: int = 10**6
) -> list[events.Event]:
    """Runs a stage and returns its events; the stop is requested once there are `stops_after` events."""
    emitted: list[events.Event] = []
    workdir.mkdir(exist_ok=True)
    run(
        spec,
        workdir,
        inputs=None,
        stores=stores,
        on_event=emitted.append,
        should_stop=lambda: len(emitted) >= stops_after,
        options=options,
    )
    return emitted


def test_a_run_that_pauses_after_rungs_is_bit_identical_to_an_uninterrupted_one(digits_idx, teacher_file, tmp_path):
    spec = factories.spec(digits_idx, teacher_file, training={"epochs": 3, "ema": 0.9})
    whole = distill(spec, tmp_path / "whole", options=RunOptions(record_correct=True))
    for epoch in (1, 2):
        with pytest.raises(ReachedEpoch) as reached:
            distill(spec, tmp_path / "rungs", options=RunOptions(pause_after_epoch=epoch, record_correct=True))
        assert (reached.value.epoch, reached.value.step) == (epoch, 9 * epoch)
        # Started again with the same limit, it takes no step and reports the same.
        with pytest.raises(ReachedEpoch) as again:
            distill(spec, tmp_path / "rungs", options=RunOptions(pause_after_epoch=epoch, record_correct=True))
        assert again.value.best_top1 == reached.value.best_top1
    resumed = distill(spec, tmp_path / "rungs", options=RunOptions(record_correct=True))
    assert sha256(tmp_path / "rungs") == sha256(tmp_path / "whole")
    assert resumed.correct == whole.correct
    hits = np.unpackbits(np.frombuffer(b64decode(whole.correct), dtype=np.uint8))[:200]
    assert hits.mean() == pytest.approx(whole.student_test.top1)


def test_one_teacher_pass_serves_all_trials(digits_idx, teacher_file, tmp_path):
    stores = Stores(tmp_path / "stores")
    spec = factories.spec(digits_idx, teacher_file, training={"epochs": 3, "augmentation": "none", "views": 2})
    # Interrupted, it continues with the missing blocks.
    with pytest.raises(Interrupted):
        run_stage(spec, tmp_path / "teacher", RunOptions(kind="teacher"), stores=stores, stops_after=4)
    emitted = run_stage(spec, tmp_path / "again", RunOptions(kind="teacher"), stores=stores)
    assert emitted[-1].kind == "stage_finished"
    assert next(event.teacher_stores for event in emitted if isinstance(event, events.Resolved))
    for seed, student in enumerate(["mini/resnet8_025", "mini/resnet8_050"]):
        trial = spec.model_copy(
            update={
                "student": StudentSpec(architecture=student),
                "training": spec.training.model_copy(update={"seed": seed}),
            }
        )
        result = distill(trial, tmp_path / f"trial-{seed}", stores=stores)
        assert result.teacher_forwards == 0
        assert result.teacher_cache_hits == 3 * 270


def test_a_teacher_at_chance_fails_before_its_logits_are_stored(digits_idx, teacher_file, tmp_path):
    spec = factories.spec(digits_idx, teacher_file, training={"epochs": 1, "augmentation": "none"})
    shuffled = spec.teacher.model_copy(update={"class_map": [*range(1, 10), 0], "allow_chance": False})
    emitted: list[events.Event] = []
    with pytest.raises(TeacherAtChance, match="not above chance"):
        run(
            spec.model_copy(update={"teacher": shuffled}),
            tmp_path,
            inputs=None,
            stores=Stores(tmp_path / "stores"),
            on_event=emitted.append,
            should_stop=lambda: False,
            options=RunOptions(kind="teacher"),
        )
    kinds = [event.kind for event in emitted]
    assert "teacher_measured" in kinds
    assert "resolved" not in kinds, "it emits this event before it stores logits"


def test_students_are_screened_once_per_machine(digits_idx, teacher_file, tmp_path):
    spec = factories.spec(digits_idx, teacher_file, training={"threads": 2})
    students = [
        ScreenedStudent(numbers=[1, 3], student=StudentSpec(architecture="mini/resnet8_025")),
        ScreenedStudent(numbers=[2], student=StudentSpec(architecture="cifar/resnet8")),
        # Its patches are larger than the image.
        ScreenedStudent(numbers=[4], student=StudentSpec(architecture="vit_tiny_patch16_224", image_size=8)),
    ]
    options = RunOptions(kind="screen", students=students, screen_cache=tmp_path / "screens", processes=2)
    first = run_stage(spec, tmp_path / "first", options)
    screened = [event for event in first if isinstance(event, events.CandidateScreened)]
    assert [event.numbers for event in screened] == [[1, 3], [2], [4]]
    small, large, broken = screened
    assert broken.error is not None
    assert broken.error.startswith("cannot be built or exported: ")
    assert small.parameters < large.parameters
    for event in (small, large):
        assert [file.precision for file in event.files] == ["fp32", "int8"]
        assert all(file.latency_ms > 0 for file in event.files)
        assert event.files[0].bytes > 4 * event.parameters
    assert first[-1].kind == "stage_finished"
    again = [e for e in run_stage(spec, tmp_path / "again", options) if isinstance(e, events.CandidateScreened)]
    assert [event.cached for event in again] == [True, True, False]
    assert again[0].files == small.files
    for event in again:
        assert events.decode(events.encode(event)) == event


def test_a_killed_measuring_process_decides_nothing_about_a_candidate(digits_idx, teacher_file, tmp_path, monkeypatch):
    def killed(*arguments: object, **options: object) -> None:
        raise MeasureError("killed", "the process that measured 0.onnx was killed 3 times")

    students = [ScreenedStudent(numbers=[1], student=StudentSpec(architecture="mini/resnet8_025"))]
    monkeypatch.setattr("ttm_core.study.screen.compare", killed)
    with pytest.raises(MeasuringKilled, match="was killed 3 times") as raised:
        run_stage(factories.spec(digits_idx, teacher_file), tmp_path, RunOptions(kind="screen", students=students))
    assert (raised.value.retryable, raised.value.origin) == (True, "system")


def test_an_unreachable_hub_decides_nothing_about_a_candidate(digits_idx, teacher_file, tmp_path, monkeypatch):
    def unreachable(*arguments: object) -> None:
        raise HubUnreachable("the Hugging Face Hub cannot be reached")

    students = [ScreenedStudent(numbers=[1], student=StudentSpec(architecture="mini/resnet8_025"))]
    monkeypatch.setattr("ttm_core.study.screen.untrained_student", unreachable)
    with pytest.raises(HubUnreachable):
        run_stage(factories.spec(digits_idx, teacher_file), tmp_path, RunOptions(kind="screen", students=students))


def untrained_teacher(path: Path, architecture: str, channels: int) -> Path:
    model = create_model(architecture, num_classes=10, in_chans=channels)
    structure = {"architecture": architecture, "num_classes": 10, "in_chans": channels}
    write_safetensors(path, model.state_dict(), {"format": 2, "structure": structure})
    return path


def screened_students(
    spec: DistillSpec, workdir: Path, students: list[StudentSpec]
) -> dict[int, events.CandidateScreened]:
    """The sizes of students by number, of a job with the first one."""
    options = RunOptions(
        kind="screen",
        publish_files=True,
        students=[ScreenedStudent(numbers=[index], student=each) for index, each in enumerate(students, start=1)],
    )
    emitted = run_stage(spec.model_copy(update={"student": students[0]}), workdir, options)
    return {event.numbers[0]: event for event in emitted if isinstance(event, events.CandidateScreened)}


def test_a_first_student_that_cannot_be_built_does_not_fail_the_others(digits_idx, tmp_path):
    # `students: auto` begins with the pruned teacher, and not every teacher can be pruned.
    teacher = untrained_teacher(tmp_path / "teacher.safetensors", "cifar/ShuffleV2", channels=1)
    spec = factories.spec(digits_idx, teacher)
    small = StudentSpec(architecture="mini/resnet8_025")
    for first, reason in (
        (StudentSpec(prune=PruneSpec(macs=0.5)), "cifar/ShuffleV2 cannot be pruned"),
        (StudentSpec(architecture="vit_tiny_patch16_224", image_size=8), "cannot be built"),
    ):
        found = screened_students(spec, tmp_path / reason.replace("/", "-"), [first, small])
        assert reason in (found[1].error or "")
        assert found[2].error is None
        assert len(found[2].files) == 2


def test_a_student_is_screened_with_its_own_channels(digits_idx, tmp_path):
    teacher = untrained_teacher(tmp_path / "teacher.safetensors", "mini/resnet8_100", channels=3)
    spec = factories.spec(digits_idx, teacher)
    students = [StudentSpec(prune=PruneSpec(macs=0.5)), StudentSpec(architecture="mini/resnet8_100")]
    found = screened_students(spec, tmp_path / "screen", students)
    # The pruned teacher keeps its three channels; the other student reads the digits, which have one.
    assert found[1].error is None
    gray = create_model("mini/resnet8_100", num_classes=10, in_chans=1)
    assert found[2].parameters == sum(parameter.numel() for parameter in gray.parameters())


def test_the_screened_size_is_that_of_the_exported_file(digits_idx, teacher_file, tmp_path):
    spec = factories.spec(digits_idx, teacher_file, exports=["onnx", "onnx_int8"], quantize={"mode": "post_training"})
    students = [ScreenedStudent(numbers=[1], student=spec.student)]
    emitted = run_stage(spec, tmp_path / "screen", RunOptions(kind="screen", students=students))
    (screened,) = [event for event in emitted if isinstance(event, events.CandidateScreened)]
    result = distill(spec, tmp_path / "run")
    sizes = {artifact.name: artifact.size for artifact in result.artifacts}
    # Exactly: a file that met a limit on bytes when it was screened meets it.
    assert [file.bytes for file in screened.files] == [sizes["student.onnx"], sizes["student-int8.onnx"]]
    assert result.int8_change is not None
    assert result.onnx_latency_ms.keys() == {"fp32", "int8"}
    assert result.int8_in_float is False


def test_a_run_says_that_layers_of_its_int8_file_stay_in_float32(digits_idx, teacher_file, tmp_path, monkeypatch):
    # As if quantization lost all accuracy.
    monkeypatch.setattr(
        "ttm_core.quantization.post_training._Search._top1", lambda search, logits: float(logits is search._expected)
    )
    spec = factories.spec(digits_idx, teacher_file, exports=["onnx_int8"], quantize={"mode": "post_training"})
    result = distill(spec, tmp_path / "run")
    assert result.int8_in_float
    assert result.onnx_latency_ms.keys() == {"int8"}


def test_files_for_another_device_are_published_and_not_measured(digits_idx, teacher_file, tmp_path):
    spec = factories.spec(digits_idx, teacher_file)
    students = [ScreenedStudent(numbers=[2, 5], student=spec.student)]
    options = RunOptions(kind="screen", students=students, publish_files=True)
    *_, screened, end = run_stage(spec, tmp_path / "screen", options)
    assert [file.latency_ms for file in screened.files] == [None, None]
    assert [artifact.name for artifact in end.artifacts] == ["candidate-2.onnx", "candidate-2-int8.onnx"]
    for artifact, file in zip(end.artifacts, screened.files, strict=True):
        path = tmp_path / "screen" / artifact.path
        assert (path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest()) == (file.bytes, artifact.sha256)


def test_measurements_of_pruned_students_belong_to_their_teacher(digits_idx, tmp_path, monkeypatch):
    hub = tmp_path / "hub"
    for owner, architecture in (("small", "mini/resnet8_050"), ("large", "cifar/resnet14")):
        folder = hub / owner / "teacher"
        folder.mkdir(parents=True)
        model = create_model(architecture, num_classes=10, in_chans=1)
        save_file(model.state_dict(), folder / "model.safetensors")
        config = {"architecture": architecture, "num_classes": 10}
        (folder / "config.json").write_text(json.dumps(config))
    options = RunOptions(
        kind="screen",
        screen_cache=tmp_path / "screens",
        students=[ScreenedStudent(numbers=[1], student=StudentSpec(prune=PruneSpec(macs=0.5, round_to=2)))],
    )

    def screened(owner: str, workdir: str) -> events.CandidateScreened:
        spec = factories.spec(digits_idx, {"checkpoint": f"hf:{owner}/teacher", "allow_chance": True})
        emitted = run_stage(spec, tmp_path / workdir, options)
        return next(event for event in emitted if isinstance(event, events.CandidateScreened))

    with hub_of_this_process(hub, monkeypatch):
        small, large, again = screened("small", "1"), screened("large", "2"), screened("large", "3")
    assert not large.cached
    assert large.parameters > small.parameters
    assert again == large.model_copy(update={"cached": True})
