"""Complete runs on real digits: their events and files, and that resumed runs give identical students."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from tests.support.engine_process import start_trainer
from tests.support.models import create_model
from tests.ttm_core import factories
from ttm_core.errors import BadCheckpoint, BadSpec, NonFiniteLoss, TeacherAtChance
from ttm_core.export import load_student
from ttm_core.models.weights import read_weights
from ttm_core.pipeline.distill import distill
from ttm_core.spec import events
from ttm_core.spec.job import DistillSpec
from ttm_core.training.trainer import Interrupted

METHODS: dict[str, str | dict[str, Any]] = {
    "ce": "ce",
    "kd": "kd",
    "ttm": "ttm",
    "wttm": "wttm",
    "dkd": {"kind": "dkd", "weight": {"kind": "warmup", "epochs": 1, "last": 1}},
    "dist": "dist",
    "nkd": {"kind": "nkd", "logit_standardization": True},
    "wkd": "wkd",
    "wkd by features": {"kind": "wkd", "relations": "features"},
    "wttm, gamma and beta changing": {
        "kind": "wttm",
        "gamma": {"kind": "linear", "first": 0.5, "last": 0.2},
        "beta": {"kind": "cosine", "first": 0, "last": 2},
    },
    "wttm without labels": {"kind": "wttm", "ce_weight": 0},
    "wttm + crd": {"kind": "wttm", "features": {"kind": "crd", "negatives": 64}},
    "dkd + itrd": {"kind": "dkd", "features": "itrd"},
}


class Uninterrupted(NamedTuple):
    """A finished run of a method."""

    spec: DistillSpec
    workdir: Path
    events: list[events.Event]
    result: events.Result


@pytest.fixture(scope="module", params=METHODS.values(), ids=METHODS)
def uninterrupted(request, digits_idx, teacher_file, tmp_path_factory) -> Uninterrupted:
    training = {"augmentation": {"kind": "crop_flip", "padding": 1}}
    spec = factories.spec(digits_idx, teacher_file, method=request.param, training=training)
    workdir, emitted = tmp_path_factory.mktemp("run"), []
    return Uninterrupted(spec, workdir, emitted, distill(spec, workdir, on_event=emitted.append))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def student_of(workdir: Path) -> Path:
    return workdir / "out" / "student.safetensors"


def test_events_have_the_documented_order(uninterrupted):
    emitted, result, workdir = uninterrupted.events, uninterrupted.result, uninterrupted.workdir
    kinds = [event.kind for event in emitted]
    phases = [event.phase for event in emitted if isinstance(event, events.PhaseChanged)]
    assert phases == ["fetching", "loading_teacher", "training", "evaluating", "exporting"]
    assert next(event.spec.training.teacher_logits for event in emitted if event.kind == "resolved") == "online"
    assert kinds.index("teacher_measured") < kinds.index("resolved") < kinds.index("metrics")
    assert kinds[-1] == "finished"
    assert kinds.count("finished") == 1
    for event in emitted:
        assert events.decode(events.encode(event)) == event

    resolved = next(event for event in emitted if isinstance(event, events.Resolved))
    assert (resolved.train_images, resolved.validation_images, resolved.test_images) == (270, 30, 200)
    assert resolved.spec.student.normalization is not None
    assert resolved.spec.training.augmentation is not None
    assert resolved.spec.teacher.architecture == "mini/resnet8_050"
    assert resolved.total_steps == 2 * 9
    terms = {name for event in emitted if isinstance(event, events.Metrics) for name in event.values}
    kind, features = resolved.spec.method.kind, getattr(resolved.spec.method, "features", None)
    assert {"train/loss", f"train/{kind}", "validation/top1"} <= terms
    assert ("train/ce" in terms) == (getattr(resolved.spec.method, "ce_weight", 1) > 0)
    assert features is None or f"train/{features.kind}" in terms

    assert result.student_test.images == 200
    assert result.teacher_test.top1 > 0.8
    report = json.loads((workdir / "out" / "report.json").read_text())
    assert report["test"]["student"]["top1"] == result.student_test.top1
    for artifact in result.artifacts:
        assert sha256(workdir / artifact.path) == artifact.sha256


def test_loaded_student_reproduces_its_accuracy(digits_idx, teacher_file, tmp_path):
    result = distill(factories.spec(digits_idx, teacher_file), tmp_path)
    student = load_student(student_of(tmp_path))
    images, labels = factories.digits()
    probabilities = student.predict(torch.from_numpy(images[-200:])[:, None])
    torch.testing.assert_close(probabilities.sum(1), torch.ones(200))
    assert (probabilities.argmax(1) == torch.from_numpy(labels[-200:])).float().mean().item() == pytest.approx(
        result.student_test.top1
    )


def test_timm_loads_the_student(digits_idx, tmp_path):
    """timm needs only the name of the architecture and the file."""
    import timm

    distill(factories.spec(digits_idx), tmp_path)
    loaded = load_student(student_of(tmp_path))
    metadata = read_weights(student_of(tmp_path)).metadata
    from_timm = timm.create_model(
        metadata["timm_architecture"],
        num_classes=metadata["structure"]["num_classes"],
        in_chans=metadata["structure"]["in_chans"],
        checkpoint_path=str(student_of(tmp_path)),
    ).eval()
    x = torch.randn(3, 1, 8, 8)
    assert torch.equal(from_timm(x), loaded.model(x))


def test_student_as_next_teacher_and_as_initial_weights(digits_idx, teacher_file, tmp_path):
    distill(factories.spec(digits_idx, teacher_file), tmp_path / "first")
    student = {"architecture": "mini/resnet8_025", "checkpoint": student_of(tmp_path / "first").as_uri()}
    spec = factories.spec(digits_idx, student_of(tmp_path / "first"), student=student, training={"epochs": 1})
    first = distill(spec, tmp_path / "second").student_validation.top1
    cold = distill(factories.spec(digits_idx, training={"epochs": 1}), tmp_path / "cold").student_validation.top1
    assert first > cold


@pytest.mark.parametrize(("own", "mode"), [(3, "L"), (1, "RGB")])
def test_weights_for_images_of_other_channels(tmp_path, own, mode):
    """Without a normalization in the file, that of the dataset is measured, which has other channels than the student."""
    data = factories.digits_folder(tmp_path / "data", mode=mode, size=16)
    weights = tmp_path / "weights.pth"
    torch.save(create_model("mini/resnet8_025", num_classes=3, in_chans=own).state_dict(), weights)
    student = {"architecture": "mini/resnet8_025", "checkpoint": weights.as_uri()}
    distill(factories.spec(data, student=student, training={"epochs": 1}, exports=[]), tmp_path / "run")
    loaded = load_student(student_of(tmp_path / "run"))
    assert loaded.structure.in_chans == own
    assert len(loaded.preprocess.normalization.mean) == own


def test_a_student_without_finite_outputs_fails_with_the_cause(digits_idx, tmp_path):
    """Negative variances have no effect on the batches of training."""
    state = create_model("mini/resnet8_025", num_classes=10, in_chans=1).state_dict()
    state["bn1.running_var"].fill_(-100.0)
    torch.save(state, tmp_path / "weights.pth")
    student = {"architecture": "mini/resnet8_025", "checkpoint": (tmp_path / "weights.pth").as_uri()}
    spec = factories.spec(digits_idx, student=student, training={"epochs": 1}, exports=[])
    with pytest.raises(NonFiniteLoss, match=r"validation images is nan.*learning rate"):
        distill(spec, tmp_path / "run")


def test_stopped_run_resumes_bit_identically(uninterrupted, tmp_path):
    spec, workdir = uninterrupted.spec, tmp_path / "stopped"
    resume_twice(spec, workdir, uninterrupted.result.steps)
    assert sha256(student_of(workdir)) == sha256(student_of(uninterrupted.workdir))


def assert_resumes_bit_identically(spec, tmp_path):
    """A run that is stopped twice at random steps gives the same student as an uninterrupted run."""
    total = distill(spec, tmp_path / "uninterrupted").steps
    resume_twice(spec, tmp_path / "stopped", total)
    assert sha256(student_of(tmp_path / "stopped")) == sha256(student_of(tmp_path / "uninterrupted"))


def resume_twice(spec, workdir, total):
    """Finishes a run of `total` steps that is stopped twice at random steps."""
    steps = sorted(random.Random(spec.model_dump_json(include={"method", "training"})).sample(range(1, total), 2))
    for before, stop in zip([0, *steps], steps, strict=False):
        left = iter(range(stop - before - 1, -1, -1))
        with pytest.raises(Interrupted) as interrupted:
            distill(spec, workdir, should_stop=lambda left=left: next(left) == 0)
        assert interrupted.value.step == stop
        assert 1 <= len(list((workdir / "checkpoints").iterdir())) <= 3
    distill(spec, workdir)


def test_killed_run_resumes_bit_identically(digits_idx, teacher_file, tmp_path):
    """A real process, a real SIGKILL and a truncated checkpoint; also resumed elsewhere from one checkpoint."""
    training = {"epochs": 10, "checkpoint_seconds": 0.05}
    spec = factories.spec(digits_idx, teacher_file, training=training)
    distill(spec, tmp_path / "uninterrupted")

    killed = tmp_path / "killed"
    killed.mkdir()
    inputs = {"teachers": [str(teacher_file)], "student": None, "dataset": str(digits_idx)}
    (killed / "run.json").write_text(json.dumps({"spec": spec.model_dump(mode="json"), "inputs": inputs}))
    process, written = start_trainer(killed)
    resolved = None
    with open(written.fileno(), "rb", closefd=False) as stream:
        for line in stream:
            event = events.decode(line)
            resolved = event if isinstance(event, events.Resolved) else resolved
            if isinstance(event, events.CheckpointSaved) and event.step > 30:
                process.kill()
                break
    process.join()
    assert process.exitcode == -signal.SIGKILL
    checkpoints = killed / "checkpoints"
    newest = max(checkpoints.glob("step-*.pt"))
    (checkpoints / "step-000000999.pt").write_bytes(newest.read_bytes()[:1000])

    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "checkpoints").mkdir(parents=True)
    (elsewhere / "checkpoints" / newest.name).write_bytes(newest.read_bytes())
    distill(spec, killed)
    distill(resolved.spec, elsewhere)
    assert sha256(student_of(killed)) == sha256(student_of(tmp_path / "uninterrupted")) == sha256(student_of(elsewhere))


def test_sigterm_saves_a_checkpoint_and_emits_stopped(digits_idx, tmp_path):
    spec = factories.spec(digits_idx, training={"epochs": 500})
    inputs = {"teachers": [], "student": None, "dataset": str(digits_idx)}
    (tmp_path / "run.json").write_text(json.dumps({"spec": spec.model_dump(mode="json"), "inputs": inputs}))
    process, written = start_trainer(tmp_path)
    emitted = []
    with open(written.fileno(), "rb", closefd=False) as stream:
        for line in stream:
            emitted.append(events.decode(line))
            if isinstance(emitted[-1], events.Metrics) and process.is_alive():
                process.terminate()
    process.join(timeout=600)
    assert process.exitcode == 3
    assert isinstance(emitted[-1], events.Stopped)
    assert isinstance(emitted[-2], events.CheckpointSaved)
    assert emitted[-2].step == emitted[-1].step
    assert sha256(tmp_path / emitted[-2].path) == emitted[-2].sha256


def test_checkpoint_of_another_spec_is_rejected(digits_idx, tmp_path):
    distill(factories.spec(digits_idx), tmp_path)
    with pytest.raises(BadCheckpoint, match="another spec"):
        distill(factories.spec(digits_idx, training={"seed": 1}), tmp_path)


def test_seeds_are_reproducible_and_differ(digits_idx, tmp_path):
    made = {}
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        distill(factories.spec(digits_idx, training={"seed": seed, "epochs": 1}), tmp_path / name)
        made[name] = read_weights(student_of(tmp_path / name)).tensors["fc.weight"]
    assert torch.equal(made["a"], made["b"])
    assert not torch.equal(made["a"], made["c"])


def test_non_finite_loss_names_the_step_and_the_term(digits_idx, tmp_path):
    spec = factories.spec(
        digits_idx,
        training={"optimizer": {"name": "sgd", "learning_rate": 1000.0}, "schedule": "constant", "epochs": 20},
    )
    with pytest.raises(NonFiniteLoss, match=r"became (nan|inf) at step \d+ .* in the term 'ce'"):
        distill(spec, tmp_path)


def test_engine_reads_only_local_files(digits_idx, tmp_path):
    spec = factories.spec(digits_idx)
    for uri in ("https://example.org/x", "upload:1", "file://elsewhere/x", "s3://bucket/x"):
        other = spec.model_copy(update={"dataset": spec.dataset.model_copy(update={"uri": uri})})
        with pytest.raises(BadSpec, match="not a local file"):
            distill(other, tmp_path)


def test_resized_crops_with_a_teacher_of_another_size(tmp_path):
    """Image files are decoded for every view; teacher and student differ in size."""
    folder = factories.digits_folder(tmp_path / "set", classes=3, each=12, size=80)
    teacher = factories.spec(
        folder, student={"architecture": "mini/resnet8_025", "image_size": 32}, training={"epochs": 1, "batch_size": 8}
    )
    distill(teacher, tmp_path / "teacher")
    emitted: list[events.Event] = []
    spec = factories.spec(
        folder,
        student_of(tmp_path / "teacher"),
        student={"architecture": "mini/resnet8_025", "image_size": 48},
        training={"epochs": 1, "batch_size": 8, "augmentation": "resized_crop"},
    )
    distill(spec, tmp_path / "student", on_event=emitted.append)
    waits = [
        event.values["train/data_wait_share"]
        for event in emitted
        if isinstance(event, events.Metrics) and "train/loss" in event.values
    ]
    assert waits
    assert load_student(student_of(tmp_path / "student")).preprocess.image_size == 48


def test_bfloat16_trains(digits_idx, teacher_file, tmp_path):
    result = distill(factories.spec(digits_idx, teacher_file, training={"precision": "bfloat16"}), tmp_path)
    assert result.student_validation.loss < 2.3


def test_command_line_runs_a_yaml_spec_and_logs_plain_text(digits_idx, tmp_path):
    (tmp_path / "data").symlink_to(digits_idx)
    (tmp_path / "spec.yaml").write_text(
        "student: mini/resnet8_025\ndataset: data\nmethod: ce\nexports: [onnx_int8]\ntraining: {epochs: 1, threads: 1}\n"
        "quantize: {mode: post_training}\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    done = subprocess.run(
        [sys.executable, "-m", "ttm_core", "distill", str(tmp_path / "spec.yaml"), "--out", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        env={**environment, "FORCE_COLOR": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert "\x1b[" not in done.stderr, "the log has no color codes"
    assert ":onnxruntime" not in done.stderr.lower(), "as in [W:onnxruntime:...]"
    assert "telemetry" not in done.stderr.lower()
    assert load_student(student_of(tmp_path / "out")).architecture == "mini/resnet8_025"
    (tmp_path / "spec.yaml").write_text("student: mini/resnet8_025\nepochs: 3\n")
    done = subprocess.run(
        [sys.executable, "-m", "ttm_core", "distill", str(tmp_path / "spec.yaml"), "--out", str(tmp_path / "out")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "dataset" in done.stderr
    assert "Traceback" not in done.stderr


def test_best_checkpoint_is_marked_and_kept(digits_idx, teacher_file, tmp_path):
    """Early stopping ends the run two epochs after the best one, so that newer checkpoints would delete it."""
    emitted: list[events.Event] = []
    training = {"epochs": 40, "early_stopping_patience": 3, "checkpoint_seconds": 0.001}
    spec = factories.spec(digits_idx, teacher_file, training=training)
    result = distill(spec, tmp_path, on_event=emitted.append)

    saved = [event for event in emitted if isinstance(event, events.CheckpointSaved)]
    best = [event for event in saved if event.best]
    assert [event.step for event in best] == sorted({event.step for event in best})
    assert best[-1].epoch == result.best_epoch < saved[-1].epoch
    kept = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert kept == {Path(event.path).name for event in (best[-1], *saved[-2:])}
    state = torch.load(tmp_path / best[-1].path, weights_only=True)["trainer"]
    student = read_weights(student_of(tmp_path)).tensors
    assert all(torch.equal(state["student"][name], tensor) for name, tensor in student.items())


def test_teacher_at_chance_is_rejected(digits_idx, teacher_file, tmp_path):
    """A teacher with permuted classes is at chance, whatever its accuracy was."""
    spec = factories.spec(digits_idx, teacher_file, training={"epochs": 1})
    shuffled = spec.teacher.model_copy(update={"class_map": [*range(1, 10), 0], "allow_chance": False})
    with pytest.raises(TeacherAtChance, match=r"not above chance .* teacher\.normalization.* teacher\.allow_chance"):
        distill(spec.model_copy(update={"teacher": shuffled}), tmp_path / "rejected")
    allowed = shuffled.model_copy(update={"allow_chance": True})
    assert distill(spec.model_copy(update={"teacher": allowed}), tmp_path / "allowed").teacher_validation.top1 < 0.3
    trained = spec.teacher.model_copy(update={"allow_chance": False})
    distill(spec.model_copy(update={"teacher": trained}), tmp_path / "trained")
