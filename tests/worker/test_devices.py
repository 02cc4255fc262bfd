"""Training on two devices (two gloo processes without a GPU): same batches, same losses, one student, no stale processes."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.support.models import create_model
from tests.support.processes import group_of
from tests.support.tiny import wait_until
from tests.ttm_core.factories import digits_folder, digits_idx, spec
from ttm_core.models.weights import write_safetensors
from ttm_core.spec.events import Event, Finished, Metrics, Progress, Resolved, Stopped
from ttm_core.spec.job import DistillSpec
from ttm_jobs.settings import Settings
from worker.trainer import stale
from worker.trainer.log import LogFile
from worker.trainer.process import Exited, Trainer
from worker.trainer.starter import Starter

REAL_TRAINER = (sys.executable, "-m", "ttm_core", "run")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("teacher") / "teacher.safetensors"
    model = create_model("mini/resnet8_100", num_classes=10, in_chans=1)
    structure = {"architecture": "mini/resnet8_100", "num_classes": 10, "in_chans": 1}
    write_safetensors(path, model.state_dict(), {"format": 2, "structure": structure})
    return path


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return digits_idx(tmp_path_factory.mktemp("digits"), train=240, test=40)


def trainer_of(workdir: Path, job_spec: DistillSpec) -> Trainer:
    workdir.mkdir()
    inputs = {
        "dataset": job_spec.dataset.uri.removeprefix("file://"),
        "unlabelled": [uri.removeprefix("file://") for uri in job_spec.dataset.unlabelled],
        "teachers": [each.checkpoint.removeprefix("file://") for each in job_spec.all_teachers],
    }
    (workdir / "run.json").write_text(json.dumps({"spec": job_spec.model_dump(mode="json"), "inputs": inputs}))
    return resumed_trainer(workdir)


def resumed_trainer(workdir: Path) -> Trainer:
    """A confined trainer. Its readable and writable paths are next to the work directory."""
    parent = workdir.parents[1]
    settings = Settings(work_dir=parent, data_roots=(parent,))
    starter = Starter(REAL_TRAINER, marks=stale.marks(), settings=settings)
    return Trainer(starter, workdir, log=LogFile(workdir / "trainer.log", 100_000))


def follow(trainer: Trainer, workdir: Path, *, until: type[Event] | None = None) -> list[Any]:
    items: list[Any] = []
    while not items or not isinstance(items[-1], until or Exited):
        item = trainer.next(timeout=600)
        assert item is not None, (workdir / "trainer.log").read_text()
        items.append(item)
    return items


def finished(trainer: Trainer, workdir: Path) -> list[Any]:
    trainer.start()
    items = follow(trainer, workdir)
    assert isinstance(items[-2], Finished), (workdir / "trainer.log").read_text()
    assert items[-1] == Exited(0)
    return items


def student(items: list[Any]) -> str:
    return next(each.sha256 for each in items[-2].result.artifacts if each.name == "student.safetensors")


def losses(items: list[Any]) -> list[tuple[int, dict[str, float]]]:
    reported = [(item.step, item.values) for item in items if isinstance(item, Metrics)]
    return [
        (step, {k: v for k, v in values.items() if "loss" in k or "ttm" in k or "/ce" in k})
        for step, values in reported
    ]


@pytest.mark.thorough
def test_one_and_two_devices_have_the_same_losses(tmp_path: Path, teacher: Path) -> None:
    """Uses a student without batch norm, because batch norm sees only the images of its own device. Half of the images
    have no label, so that parts of a batch have different numbers of labels."""
    torch_vit = {"architecture": "test_vit", "image_size": 32}
    folder = digits_folder(tmp_path / "digits", classes=10, each=5, size=32, mode="L")
    more = digits_folder(tmp_path / "more", classes=10, each=4, size=32, mode="L")
    dataset = {"uri": folder.as_uri(), "unlabelled": [more.as_uri()]}
    training = {
        "batch_size": 15,
        "epochs": 3,
        "gradient_accumulation": 2,
        "teacher_logits": "stored",
        "gradient_clipping": 1.0,
        "precision": "float32",
    }
    losses_by_devices = []
    for devices in (1, 2):
        workdir = tmp_path / str(devices)
        job_spec = spec(folder, teacher, dataset=dataset, student=torch_vit, training={**training, "devices": devices})
        items = finished(trainer_of(workdir, job_spec), workdir)
        assert next(item for item in items if isinstance(item, Resolved)).total_steps == 18
        assert items[-2].result.teacher_forwards in range(250, 271), "some of the 162 views are identical"
        assert items[-2].result.teacher_cache_hits == 270 - items[-2].result.teacher_forwards
        losses_by_devices.append(losses(items))
    assert len(losses_by_devices[0]) > 5
    for (step, one_device), (other_step, two_devices) in zip(*losses_by_devices, strict=True):
        assert step == other_step
        assert two_devices == pytest.approx(one_device, abs=1e-5)


@pytest.mark.thorough
def test_resumed_run_on_two_devices_is_bit_identical(tmp_path: Path, digits: Path, teacher: Path) -> None:
    job_spec = spec(digits, teacher, training={"devices": 2, "epochs": 8, "checkpoint_seconds": 3600})
    expected = student(finished(trainer_of(tmp_path / "uninterrupted", job_spec), tmp_path / "uninterrupted"))

    workdir = tmp_path / "stopped"
    trainer = trainer_of(workdir, job_spec)
    trainer.start()
    follow(trainer, workdir, until=Metrics)
    assert len(group_of(trainer.pid)) >= 2, "one process per device"
    trainer.stop()
    items = follow(trainer, workdir)
    assert isinstance(items[-2], Stopped)
    assert 0 < items[-2].step < 64
    wait_until(lambda: not group_of(trainer.pid))

    assert student(finished(resumed_trainer(workdir), workdir)) == expected


def test_loss_of_a_device_ends_the_run(tmp_path: Path, digits: Path) -> None:
    workdir = tmp_path / "run"
    trainer = trainer_of(workdir, spec(digits, training={"devices": 2, "epochs": 100_000}))
    trainer.start()
    follow(trainer, workdir, until=Progress)
    # The group also has multiprocessing's resource tracker.
    (peer,) = (pid for pid in group_of(trainer.pid) if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes())
    os.kill(peer, signal.SIGKILL)
    items = follow(trainer, workdir)
    assert items[-1].returncode != 0
    assert not any(isinstance(item, Finished) for item in items)
    wait_until(lambda: not group_of(trainer.pid))


def test_distill_runs_under_torchrun(tmp_path: Path, digits: Path) -> None:
    # Two images per device and step: the statistics of the batch norms differ.
    training = {"devices": 2, "batch_size": 4, "epochs": 1, "precision": "float32"}
    job_spec = spec(digits, training=training)
    (tmp_path / "spec.json").write_text(job_spec.model_dump_json())
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    distil = ["-m", "ttm_core", "distill", str(tmp_path / "spec.json"), "--out", str(tmp_path / "out")]
    done = subprocess.run([*torchrun, *distil], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "out" / "student.safetensors").exists()
    assert done.stderr.count("INFO finished ") == 1, "only the main process logs"
    # Both processes validated the student that the main process evaluated at the end.
    [logged] = re.findall(r"values=validation/top1=(\S+) validation/loss=(\S+)", done.stderr)
    final = json.loads((tmp_path / "out/out/report.json").read_text())["validation"]["student"]
    assert [float(value) for value in logged] == pytest.approx([final["top1"], final["loss"]], rel=5e-4)


def test_crd_and_too_small_batches_require_one_device(digits: Path, teacher: Path) -> None:
    with pytest.raises(ValidationError, match="crd supports one device only"):
        spec(digits, teacher, method={"kind": "wttm", "features": "crd"}, training={"devices": 2})
    with pytest.raises(ValidationError, match="batch norm needs two images"):
        spec(digits, teacher, training={"devices": 4, "batch_size": 6})
