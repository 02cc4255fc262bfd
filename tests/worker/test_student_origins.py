"""Jobs whose students are made of their teachers: submitted to the API and run by a worker with the real trainer."""

import json
import math
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from safetensors.torch import save_file

from api.app import create_app
from tests.support.hub import hub
from tests.support.models import create_model
from tests.support.rig import MakeRig, Rig
from tests.ttm_core import factories
from ttm_core.export import load_student
from ttm_core.pipeline.distill import distill

TRAINING = {"epochs": 1, "batch_size": 32, "threads": 1, "augmentation": "none"}


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """SQLite only: the tested behaviour is in the trainer."""
    return sqlite_url


@pytest.fixture
def rig(make_rig: MakeRig, forked_trainer_command: Sequence[str]) -> Rig:
    return make_rig(forked_trainer_command, lease_seconds=60.0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images and a teacher that was trained on them."""
    folder = tmp_path_factory.mktemp("trained")
    data = factories.digits_idx(folder / "digits", train=200, test=50)
    distill(factories.spec(data, student="mini/resnet8_100", training=TRAINING), folder / "run")
    (folder / "run/out/student.safetensors").rename(folder / "teacher.safetensors")
    shutil.rmtree(folder / "run")
    return folder


@pytest.fixture
def teacher(trained: Path, tmp_path: Path) -> str:
    """URI of a teacher in a folder that the service may read."""
    shutil.copytree(trained, tmp_path / "data", dirs_exist_ok=True)
    return (tmp_path / "data/teacher.safetensors").as_uri()


def run(rig: Rig, tmp_path: Path, teacher: str, student: dict[str, Any]) -> dict[str, Any]:
    """Submits a job, runs it, downloads its student and returns the job."""
    with api(rig) as client:
        job = ended(rig, client, tmp_path, teacher, student)
        assert job["state"] == "succeeded", job["failure"]
        (tmp_path / "student.safetensors").write_bytes(client.get(f"/jobs/{job['id']}/student").content)
        report = client.get(f"/jobs/{job['id']}/report").json()
        assert report["student"]["structure"] == job["student_structure"]
    return job


def api(rig: Rig) -> TestClient:
    return TestClient(create_app(rig.settings), base_url="http://127.0.0.1")


def ended(rig: Rig, client: TestClient, tmp_path: Path, teacher: str, student: dict[str, Any]) -> dict[str, Any]:
    """Submits a job, runs it and returns it."""
    body = {
        "teacher": {"checkpoint": teacher, "allow_chance": True},
        "student": student,
        "dataset": (tmp_path / "data/digits").as_uri(),
        "training": TRAINING,
        "exports": [],
    }
    response = client.post("/jobs", json=body)
    assert response.status_code == 201, response.text
    job_id = response.json()["id"]
    rig.run(job_id)
    job: dict[str, Any] = client.get(f"/jobs/{job_id}").json()
    return job


@pytest.mark.thorough
def test_student_pruned_to_a_latency(rig: Rig, teacher: str, tmp_path: Path) -> None:
    # With larger images, the latency is mostly that of convolutions.
    student = {"prune": {"latency_ms": 1e-6, "round_to": 2}, "image_size": 48}
    with api(rig) as client:
        failed = ended(rig, client, tmp_path, teacher, student)
        assert (failed["state"], failed["attempt"]) == ("failed", 1)
        failure = failed["failure"]
        assert (failure["code"], failure["origin"], failure["retryable"]) == ("bad_spec", "user", False)
        assert (
            "student.prune.latency_ms: the smallest mini/resnet8_100 in multiples of 2 channels" in failure["message"]
        )
        log = client.get(f"/jobs/{failed['id']}/log").text
    teacher_ms, smallest_ms = map(float, re.findall(r"of the teacher's MACs take ([0-9.e-]+) ms", log))

    target = float(f"{math.sqrt(teacher_ms * smallest_ms):.3g}")
    job = run(rig, tmp_path, teacher, {**student, "prune": {"latency_ms": target, "round_to": 2}})
    prune = job["spec"]["student"]["prune"]
    assert prune["latency_ms"] == target
    assert 0 < prune["macs"] < 1
    assert f"at most {target:g} ms" in job["reasons"]["student.prune.macs"]
    assert job["student"] == f"teacher pruned to {target:g} ms"
    assert job["result"]["student_parameters"] < job["result"]["teacher_parameters"]
    structure = load_student(tmp_path / "student.safetensors").structure
    assert structure.model_dump(mode="json") == job["student_structure"]
    assert structure.pruning


def test_inherited_student(rig: Rig, teacher: str, tmp_path: Path) -> None:
    student = {"architecture": "mini/resnet8_050", "initialize": "teacher"}
    job = run(rig, tmp_path, teacher, student)
    assert job["student"] == "mini/resnet8_050"
    assert job["spec"]["student"]["initialize"] == "teacher"
    assert load_student(tmp_path / "student.safetensors").structure.pruning == []


def test_student_of_another_job_is_the_initial_student(rig: Rig, teacher: str, tmp_path: Path) -> None:
    first = run(rig, tmp_path, teacher, {"prune": {"macs": 0.4, "round_to": 4}})
    second = run(rig, tmp_path, teacher, {"checkpoint": f"job:{first['id']}"})
    assert second["student_structure"] == first["student_structure"]
    assert second["spec"]["student"]["architecture"] == "mini/resnet8_100"


def test_weights_from_the_hub(make_rig: MakeRig, teacher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A forked trainer would not have the variables.
    rig = make_rig((sys.executable, "-m", "ttm_core", "run"), lease_seconds=60.0)
    folder = tmp_path / "hub/someone/digits"
    folder.mkdir(parents=True)
    model = create_model("mini/resnet8_050", num_classes=10, in_chans=1)
    save_file(model.state_dict(), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"architecture": "mini/resnet8_050"}))
    with hub(tmp_path / "hub") as endpoint:
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf-home"))
        job = run(rig, tmp_path, teacher, {"checkpoint": "hf:someone/digits"})
    assert job["student"] == "hf:someone/digits"
    assert job["student_structure"]["architecture"] == "mini/resnet8_050"
    assert any(entry.name.startswith("hub-") for entry in (rig.settings.work_dir / "data").iterdir())
