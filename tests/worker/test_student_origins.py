"""Jobs whose students are made of their teachers: submitted to the API and run by a worker with the real trainer."""

import json
import sys
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
def rig(make_rig: MakeRig) -> Rig:
    return make_rig((sys.executable, "-m", "ttm_core", "run"), lease_seconds=60.0)


@pytest.fixture
def teacher(tmp_path: Path) -> str:
    """URI of a teacher in a folder that the service may read."""
    data = factories.digits_idx(tmp_path / "data/digits")
    distill(factories.spec(data, student="mini/resnet8_100", training=TRAINING), tmp_path / "data/run")
    return (tmp_path / "data/run/out/student.safetensors").as_uri()


def run(rig: Rig, tmp_path: Path, teacher: str, student: dict[str, Any]) -> dict[str, Any]:
    """Submits a job, runs it, downloads its student and returns the job."""
    body = {
        "teacher": {"checkpoint": teacher, "allow_chance": True},
        "student": student,
        "dataset": (tmp_path / "data/digits").as_uri(),
        "training": TRAINING,
        "exports": [],
    }
    with TestClient(create_app(rig.settings), base_url="http://127.0.0.1") as client:
        response = client.post("/jobs", json=body)
        assert response.status_code == 201, response.text
        job_id = response.json()["id"]
        rig.run(job_id)
        job: dict[str, Any] = client.get(f"/jobs/{job_id}").json()
        assert job["state"] == "succeeded", job["failure"]
        (tmp_path / "student.safetensors").write_bytes(client.get(f"/jobs/{job_id}/student").content)
        report = client.get(f"/jobs/{job_id}/report").json()
        assert report["student"]["structure"] == job["student_structure"]
    return job


def test_pruned_student(rig: Rig, teacher: str, tmp_path: Path) -> None:
    job = run(rig, tmp_path, teacher, {"prune": {"macs": 0.4, "round_to": 4}})
    assert job["student"] == "teacher pruned to 40 % of its MACs"
    assert job["result"]["student_parameters"] < 0.6 * job["result"]["teacher_parameters"]
    student = load_student(tmp_path / "student.safetensors")
    assert student.structure.model_dump(mode="json") == job["student_structure"]
    assert json.dumps(job["student_structure"]).count('"module"') == len(student.structure.pruning) > 0


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


def test_weights_from_the_hub(rig: Rig, teacher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
