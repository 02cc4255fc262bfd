"""An architecture of a package, through the service: only the worker that has the package runs its jobs."""

import signal
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from tests.support import acme
from tests.support.stack import Stack
from tests.support.tiny import wait_until
from tests.ttm_core import factories
from ttm_core.export import load_student
from ttm_core.spec.catalogue import UnknownArchitecture
from ttm_jobs.settings import Settings
from ttm_jobs.states import JobState

KEY = "acme_net@acme-models"


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """SQLite only: tests/api/test_blocked_reasons.py covers the queries on both databases."""
    return sqlite_url


@pytest.mark.thorough
def test_only_the_worker_with_the_package_runs_its_jobs(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = factories.digits_idx(stack.data / "digits").as_uri()
    training = {"epochs": 1, "threads": 1, "augmentation": "none"}
    body: dict[str, Any] = {"student": "acme_net", "dataset": data, "method": "ce", "training": training}
    body["exports"] = ["onnx"]
    stack.start_dispatcher()
    stack.start_worker()
    settings = Settings.model_validate({**stack.settings, "data_roots": (stack.data,)})
    with TestClient(create_app(settings), base_url="http://127.0.0.1") as client:
        refused = client.post("/jobs", json=body)
        assert refused.status_code == 422
        (error,) = refused.json()["errors"]
        assert error["pointer"] == "/student/architecture"
        assert "no running worker has a package with it" in error["detail"]
        assert client.get("/architectures/acme_net").status_code == 404

        monkeypatch.setenv("PYTHONPATH", str(acme.install(tmp_path / "site")))
        # A process of its own reads PYTHONPATH; a forked one has imported its modules before.
        packaged = stack.start("packaged", "worker", tmp_path / "packaged", prefix=["env"], standby_trainer=False)
        wait_until(lambda: len(stack.workers()) == 2)
        worker = next(worker for worker in stack.workers() if worker.pid == packaged.pid)
        assert list(worker.architectures) == [KEY]
        shown = client.get("/architectures/acme_net").json()
        assert (shown["origin"], shown["prunable"], shown["input_size"]) == ("acme-models 1.0", None, [3, 32, 32])
        assert [row["name"] for row in client.get("/architectures", params={"q": "acme"}).json()["items"]] == [
            "acme_net"
        ]
        assert "acme-models 1.0" in client.get("/ui/architectures", params={"q": "acme"}).text
        assert "acme-models 1.0" in client.get("/ui/workers").text
        near = client.post("/jobs", json={**body, "student": "acme_nett"}).json()["errors"][0]["detail"]
        assert "'acme_net'" in near

        first, second = (client.post("/jobs", json=body).json()["id"] for _ in range(2))
        assert client.post(f"/jobs/{second}/pause").json()["state"] == "paused"
        stack.wait_for(first, JobState.SUCCEEDED)
        assert [attempt.worker_id for attempt in stack.attempts(first)] == [worker.id]
        files = {file["name"] for file in client.get(f"/jobs/{first}").json()["artifacts"]}
        assert {"student.safetensors", "student.onnx"} <= files
        (tmp_path / "student.safetensors").write_bytes(client.get(f"/jobs/{first}/student").content)
        with pytest.raises(UnknownArchitecture, match=r"ttm\.architectures"):
            load_student(tmp_path / "student.safetensors")
        by_reference = {**body, "student": "cifar/resnet8", "method": "kd", "teacher": f"job:{first}"}
        reference = client.post("/jobs", json=by_reference).json()["id"]
        assert stack.job(reference).architectures == KEY, "the teacher is the package's model"
        client.post(f"/jobs/{reference}/cancel")

        packaged.send_signal(signal.SIGTERM)
        packaged.wait(60)
        resumed = client.post(f"/jobs/{second}/resume").json()
        assert resumed["blocked_on"] == "architecture"
        assert "the architecture acme_net of the package acme-models" in resumed["blocked_reason"]
        assert not stack.attempts(second)
