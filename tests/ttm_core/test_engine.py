"""Whole runs on real digits: what they tell, what they leave, and that nothing can make them differ."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.ttm_core import factories
from ttm_core.errors import BadCheckpoint, BadSpec, NonFiniteLoss
from ttm_core.export import load_student
from ttm_core.models.weights import read_weights
from ttm_core.pipeline.distill import distill
from ttm_core.spec import events
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
every_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def student_of(workdir: Path) -> Path:
    return workdir / "out" / "student.safetensors"


@every_method
def test_a_run_tells_its_story_in_order(method, digits_idx, teacher_file, tmp_path):
    told: list[events.Event] = []
    spec = factories.spec(digits_idx, teacher_file, method=method)
    result = distill(spec, tmp_path, on_event=told.append)

    kinds = [event.kind for event in told]
    phases = [event.phase for event in told if isinstance(event, events.PhaseChanged)]
    assert phases == ["fetching", "loading_teacher", "training", "evaluating", "exporting"]
    assert next(event.spec.training.teacher_logits for event in told if event.kind == "resolved") == "online"
    assert kinds.index("teacher_measured") < kinds.index("resolved") < kinds.index("metrics")
    assert kinds[-1] == "finished"
    assert kinds.count("finished") == 1
    for event in told:
        assert events.decode(events.encode(event)) == event

    planned = next(event for event in told if isinstance(event, events.Resolved))
    assert (planned.train_images, planned.validation_images, planned.test_images) == (270, 30, 200)
    assert planned.spec.student.normalization is not None
    assert planned.spec.training.augmentation is not None
    assert planned.spec.teacher.architecture == "mini/resnet8_050"
    assert planned.total_steps == 2 * 9
    terms = {name for event in told if isinstance(event, events.Metrics) for name in event.values}
    kind, features = planned.spec.method.kind, getattr(planned.spec.method, "features", None)
    assert {"train/loss", f"train/{kind}", "validation/top1"} <= terms
    assert ("train/ce" in terms) == (getattr(planned.spec.method, "ce_weight", 1) > 0)
    assert features is None or f"train/{features.kind}" in terms

    assert result.student_test.images == 200
    assert result.teacher_test.top1 > 0.8
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["test"]["student"]["top1"] == result.student_test.top1
    for artifact in result.artifacts:
        assert sha256(tmp_path / artifact.path) == artifact.sha256


def test_the_student_scores_the_same_from_its_file_alone(digits_idx, teacher_file, tmp_path):
    result = distill(factories.spec(digits_idx, teacher_file), tmp_path)
    student = load_student(student_of(tmp_path))
    images, labels = factories.digits()
    probabilities = student.predict(torch.from_numpy(images[-200:])[:, None])
    torch.testing.assert_close(probabilities.sum(1), torch.ones(200))
    assert (probabilities.argmax(1) == torch.from_numpy(labels[-200:])).float().mean().item() == pytest.approx(
        result.student_test.top1
    )


def test_timm_alone_opens_the_student(digits_idx, tmp_path):
    """timm knows nothing of our metadata: the architecture's name and the file are enough."""
    import timm

    distill(factories.spec(digits_idx), tmp_path)
    ours = load_student(student_of(tmp_path))
    told = read_weights(student_of(tmp_path)).metadata
    theirs = timm.create_model(
        told["timm_architecture"],
        num_classes=told["num_classes"],
        in_chans=told["in_chans"],
        checkpoint_path=str(student_of(tmp_path)),
    ).eval()
    x = torch.randn(3, 1, 8, 8)
    assert torch.equal(theirs(x), ours.model(x))


def test_a_student_can_be_the_next_teacher_and_a_start(digits_idx, teacher_file, tmp_path):
    distill(factories.spec(digits_idx, teacher_file), tmp_path / "first")
    student = {"architecture": "mini/resnet8_025", "checkpoint": student_of(tmp_path / "first").as_uri()}
    spec = factories.spec(digits_idx, student_of(tmp_path / "first"), student=student, training={"epochs": 1})
    first = distill(spec, tmp_path / "second").student_validation.top1
    cold = distill(factories.spec(digits_idx, training={"epochs": 1}), tmp_path / "cold").student_validation.top1
    assert first > cold


@every_method
def test_stopped_anywhere_a_run_resumes_to_the_bit(method, digits_idx, teacher_file, tmp_path):
    training = {"augmentation": {"kind": "crop_flip", "padding": 1}, "epochs": 3}
    spec = factories.spec(digits_idx, teacher_file, method=method, training=training)
    assert_resumes_to_the_bit(spec, tmp_path, trials=3)


def assert_resumes_to_the_bit(spec, tmp_path, *, trials):
    """Stopped three times on its way, and again elsewhere, a run leaves the bytes that it leaves in one go."""
    total = distill(spec, tmp_path / "whole").steps
    chance = random.Random(spec.model_dump_json(include={"method", "training"}))
    for trial in range(trials):
        workdir = tmp_path / f"stopped-{trial}"
        steps = sorted(chance.sample(range(1, total), 3))
        for before, stop in zip([0, *steps], steps, strict=False):
            left = iter(range(stop - before - 1, -1, -1))
            with pytest.raises(Interrupted) as interrupted:
                distill(spec, workdir, should_stop=lambda left=left: next(left) == 0)
            assert interrupted.value.step == stop
            assert 1 <= len(list((workdir / "checkpoints").iterdir())) <= 2
        distill(spec, workdir)
        assert sha256(student_of(workdir)) == sha256(student_of(tmp_path / "whole"))


def test_killed_outright_a_run_resumes_to_the_bit(digits_idx, teacher_file, tmp_path):
    """A real process, a real SIGKILL, a torn file beside the whole checkpoints; resumed elsewhere with one file."""
    training = {"epochs": 30, "checkpoint_seconds": 0.05}
    spec = factories.spec(digits_idx, teacher_file, training=training)
    distill(spec, tmp_path / "whole")

    killed = tmp_path / "killed"
    killed.mkdir()
    inputs = {"teachers": [str(teacher_file)], "student": None, "dataset": str(digits_idx)}
    (killed / "run.json").write_text(json.dumps({"spec": spec.model_dump(mode="json"), "inputs": inputs}))
    process = subprocess.Popen(
        [sys.executable, "-m", "ttm_core", "run", str(killed), "--events-fd", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    planned = None
    for line in process.stdout:
        event = events.decode(line)
        planned = event if isinstance(event, events.Resolved) else planned
        if isinstance(event, events.CheckpointSaved) and event.step > 30:
            process.send_signal(signal.SIGKILL)
            break
    process.wait()
    process.stdout.close()
    checkpoints = killed / "checkpoints"
    newest = max(checkpoints.glob("step-*.pt"))
    (checkpoints / "step-000000999.pt").write_bytes(newest.read_bytes()[:1000])

    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "checkpoints").mkdir(parents=True)
    (elsewhere / "checkpoints" / newest.name).write_bytes(newest.read_bytes())
    distill(spec, killed)
    distill(planned.spec, elsewhere)
    assert sha256(student_of(killed)) == sha256(student_of(tmp_path / "whole")) == sha256(student_of(elsewhere))


def test_sigterm_saves_a_checkpoint_and_says_so(digits_idx, tmp_path):
    spec = factories.spec(digits_idx, training={"epochs": 500})
    inputs = {"teachers": [], "student": None, "dataset": str(digits_idx)}
    (tmp_path / "run.json").write_text(json.dumps({"spec": spec.model_dump(mode="json"), "inputs": inputs}))
    read, write = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "ttm_core", "run", str(tmp_path), "--events-fd", str(write)],
        pass_fds=[write],
        stderr=subprocess.DEVNULL,
    )
    os.close(write)
    told = []
    with open(read, "rb") as stream:
        for line in stream:
            told.append(events.decode(line))
            if isinstance(told[-1], events.Metrics) and process.poll() is None:
                process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 3
    assert isinstance(told[-1], events.Stopped)
    assert isinstance(told[-2], events.CheckpointSaved)
    assert told[-2].step == told[-1].step
    assert sha256(tmp_path / told[-2].path) == told[-2].sha256


def test_a_checkpoint_of_another_spec_is_refused(digits_idx, tmp_path):
    distill(factories.spec(digits_idx), tmp_path)
    with pytest.raises(BadCheckpoint, match="another spec"):
        distill(factories.spec(digits_idx, training={"seed": 1}), tmp_path)


def test_seeds_differ_and_repeat(digits_idx, tmp_path):
    made = {}
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        distill(factories.spec(digits_idx, training={"seed": seed}), tmp_path / name)
        made[name] = read_weights(student_of(tmp_path / name)).tensors["fc.weight"]
    assert torch.equal(made["a"], made["b"])
    assert not torch.equal(made["a"], made["c"])


def test_a_diverging_run_names_the_step_and_the_term(digits_idx, tmp_path):
    spec = factories.spec(
        digits_idx,
        training={"optimizer": {"name": "sgd", "learning_rate": 1000.0}, "schedule": "constant", "epochs": 20},
    )
    with pytest.raises(NonFiniteLoss, match=r"became (nan|inf) at step \d+ .* in its term 'ce'"):
        distill(spec, tmp_path)


def test_alone_the_engine_reads_local_files_only(digits_idx, tmp_path):
    spec = factories.spec(digits_idx)
    for uri in ("https://example.org/x", "upload:1", "file://elsewhere/x", "s3://bucket/x"):
        other = spec.model_copy(update={"dataset": spec.dataset.model_copy(update={"uri": uri})})
        with pytest.raises(BadSpec, match="not a local file"):
            distill(other, tmp_path)


def test_photographs_train_by_resized_crops_and_a_teacher_of_another_size(tmp_path):
    """Image files decoded at every view; gray teacher, color student; sizes that differ."""
    folder = factories.digits_folder(tmp_path / "set", classes=3, each=12, size=80)
    teacher = factories.spec(
        folder, student={"architecture": "mini/resnet8_025", "image_size": 32}, training={"epochs": 1, "batch_size": 8}
    )
    distill(teacher, tmp_path / "teacher")
    told: list[events.Event] = []
    spec = factories.spec(
        folder,
        student_of(tmp_path / "teacher"),
        student={"architecture": "mini/resnet8_025", "image_size": 48},
        training={"epochs": 1, "batch_size": 8, "augmentation": "resized_crop"},
    )
    distill(spec, tmp_path / "student", on_event=told.append)
    waits = [
        event.values["train/data_wait_share"]
        for event in told
        if isinstance(event, events.Metrics) and "train/loss" in event.values
    ]
    assert waits
    assert load_student(student_of(tmp_path / "student")).preprocess.image_size == 48


def test_bfloat16_trains(digits_idx, teacher_file, tmp_path):
    result = distill(factories.spec(digits_idx, teacher_file, training={"precision": "bfloat16"}), tmp_path)
    assert result.student_validation.loss < 2.3


def test_the_command_line_runs_a_yaml_spec(digits_idx, tmp_path):
    (tmp_path / "data").symlink_to(digits_idx)
    (tmp_path / "spec.yaml").write_text(
        "student: mini/resnet8_025\ndataset: data\nmethod: ce\ntraining: {epochs: 1, threads: 1}\n"
    )
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "ttm_core", "distill", str(tmp_path / "spec.yaml"), "--out", str(tmp_path / "out")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert load_student(student_of(tmp_path / "out")).architecture == "mini/resnet8_025"
    assert time.monotonic() - started < 60
    (tmp_path / "spec.yaml").write_text("student: mini/resnet8_025\nepochs: 3\n")
    done = subprocess.run(
        [sys.executable, "-m", "ttm_core", "distill", str(tmp_path / "spec.yaml"), "--out", str(tmp_path / "out")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "dataset" in done.stderr
    assert "Traceback" not in done.stderr
