"""Exports to a real MLflow server, and jobs while MLflow is unavailable."""

import socket
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from sqlalchemy import Engine

from tests.support.factories import job_of, queued, spec, state_of
from tests.support.mlflow_server import COMMAND, MlflowProcess
from tests.support.rig import MakeRig, Rig
from tests.support.runs import STUDENT_BYTES, claim, fail, succeed, train
from ttm_jobs.broker.embedded import free_port
from ttm_jobs.database.engine import read_scope, session_scope
from ttm_jobs.models import Metric, OutboxMessage
from ttm_jobs.repositories import tracking
from ttm_jobs.repositories.jobs import crud
from ttm_jobs.settings import Settings
from ttm_jobs.states import JobState
from ttm_jobs.storage import Storage
from worker.dispatcher.mlflow import Exporter
from worker.dispatcher.mlflow.server import MlflowServer, TrackingFailed

LONG = "x" * 700
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowProcess]:
    if COMMAND is None:
        pytest.skip("NO MLFLOW: the export to a real MLflow server was not tested. `make mlflow` installs one.")
    with MlflowProcess(tmp_path_factory.mktemp("mlflow")) as server:
        yield server


def exporter(engine: Engine, storage: Storage, uri: str, **settings: object) -> Exporter:
    values = {"mlflow_tracking_uri": uri, "mlflow_retry_seconds": 0.001, **settings}
    return Exporter(Settings.model_validate(values), engine, storage)


def pending_exports(engine: Engine) -> list[OutboxMessage]:
    with read_scope(engine) as session:
        return list(session.query(OutboxMessage).filter_by(topic=tracking.TOPIC))


def enqueue_export(engine: Engine, job_id: str) -> None:
    with session_scope(engine) as session:
        tracking.enqueue(session, crud.get(session, job_id))


def finished_job(engine: Engine, storage: Storage, **fields: Any) -> str:
    lease = claim(engine, queued(engine, **fields))
    train(engine, lease, range(1, 6))
    succeed(engine, storage, lease, report=b'{"a": "report"}')
    enqueue_export(engine, lease.job_id)
    return lease.job_id


def run_of(server: MlflowProcess, experiment: str, job_id: str) -> list[dict[str, Any]]:
    found = server.call("experiments/get-by-name", experiment_name=experiment)["experiment"]["experiment_id"]
    query = f"tags.`ttm.job_id` = '{job_id}'"
    runs: list[dict[str, Any]] = server.call("runs/search", experiment_ids=[found], filter=query).get("runs", [])
    return runs


def listed(server: MlflowProcess, run_id: str, **parameters: str) -> set[str]:
    """The paths of a run's artifacts."""
    return {file["path"] for file in server.call("artifacts/list", run_id=run_id, **parameters).get("files", [])}


def values_of(pairs: list[dict[str, str]]) -> dict[str, Any]:
    return {pair["key"]: pair["value"] for pair in pairs}


def test_export_contains_curves_files_and_model(
    engine: Engine, storage: Storage, server: MlflowProcess, database_url: str
) -> None:
    name = database_url.partition(":")[0].partition("+")[0]
    body = spec(name="größe / \"pets\" 'x' `y`", training={"epochs": 3, "seed": 1}, dataset=f"file:///{LONG}")
    job_id = finished_job(engine, storage, spec=body, tags=["a", "b"])
    with session_scope(engine) as session:
        session.add(Metric(job_id=job_id, name="train/loss", step=90, epoch=0.9, value=None))
    mlflow_exporter = exporter(engine, storage, server.url, mlflow_experiment=name)
    assert mlflow_exporter.export_one()
    assert pending_exports(engine) == []
    [run] = run_of(server, name, job_id)
    info, data = run["info"], run["data"]
    assert (info["status"], info["run_name"]) == ("FINISHED", body["name"])
    finished_at = job_of(engine, job_id).finished_at
    assert finished_at is not None
    assert info["end_time"] == int(finished_at.timestamp() * 1000)
    params, metrics, tags = (values_of(data[kind]) for kind in ("params", "metrics", "tags"))
    assert (params["training.epochs"], params["method"], len(params["dataset"])) == ("3", "ce", 500)
    assert metrics["train/loss"] == pytest.approx(0.2)
    assert metrics["result/student_test/top1"] == pytest.approx(0.88)
    assert (tags["ttm.tags"], tags["ttm.dataset"], tags["ttm.project"]) == ("a,b", body["dataset"], "default")
    history = server.call("metrics/get-history", run_id=info["run_id"], metric_key="train/loss")["metrics"]
    assert [(point["step"], point["value"]) for point in history] == [
        (step, pytest.approx(1 / step)) for step in range(1, 6)
    ]
    times = [point["timestamp"] for point in history]
    assert times == sorted(times)
    assert info["start_time"] <= times[0] <= times[-1] <= info["end_time"]
    assert listed(server, info["run_id"]) == {"report.json", "student", "trainer.log"}
    assert listed(server, info["run_id"], path="student") == {"student/MLmodel", "student/student.safetensors"}
    content = httpx2.get(
        f"{server.url}/get-artifact", params={"path": "student/student.safetensors", "run_uuid": info["run_id"]}
    )
    assert content.content == STUDENT_BYTES
    [version] = server.call("model-versions/search", filter=f"run_id='{info['run_id']}'")["model_versions"]
    assert (version["name"], version["version"]) == (f"{name}-cifar-resnet20", "1")


@on_sqlite
def test_interrupted_export_is_resumed(engine: Engine, storage: Storage, server: MlflowProcess) -> None:
    job_id = finished_job(engine, storage)
    mlflow_exporter = exporter(engine, storage, server.url, mlflow_experiment="resumed")

    class Full(Exception):
        pass

    def full(*_: object, **__: object) -> None:
        raise Full

    original_end = mlflow_exporter._server.end
    mlflow_exporter._server.end = full  # type: ignore[method-assign]
    assert mlflow_exporter.export_one()
    assert [run["info"]["status"] for run in run_of(server, "resumed", job_id)] == ["RUNNING"]
    assert [message.attempts for message in pending_exports(engine)] == [1]
    mlflow_exporter._server.end = original_end  # type: ignore[method-assign]
    while pending_exports(engine):
        mlflow_exporter.export_one()
    # A second export of the same job sends nothing twice.
    enqueue_export(engine, job_id)
    assert mlflow_exporter.export_one()
    [run] = run_of(server, "resumed", job_id)
    assert run["info"]["status"] == "FINISHED"
    history = server.call("metrics/get-history", run_id=run["info"]["run_id"], metric_key="train/loss")["metrics"]
    assert len(history) == 5
    versions = server.call("model-versions/search", filter=f"run_id='{run['info']['run_id']}'")["model_versions"]
    assert len(versions) == 1


@on_sqlite
def test_failed_job_is_exported_without_artifacts_if_disabled(
    engine: Engine, storage: Storage, server: MlflowProcess
) -> None:
    lease = claim(engine, queued(engine))
    fail(engine, lease)
    failed = lease.job_id
    enqueue_export(engine, failed)
    succeeded = finished_job(engine, storage)
    mlflow_exporter = exporter(engine, storage, server.url, mlflow_experiment="bare", mlflow_artifacts=False)
    while mlflow_exporter.export_one():
        pass
    [run] = run_of(server, "bare", failed)
    assert run["info"]["status"] == "FAILED"
    assert values_of(run["data"]["tags"])["ttm.failure"] == "bad_dataset: No images."
    [run] = run_of(server, "bare", succeeded)
    assert len(values_of(run["data"]["tags"])["ttm.sha256.student.safetensors"]) == 64
    assert listed(server, run["info"]["run_id"]) == set()


def test_mlflow_outage_does_not_affect_jobs_and_export_is_abandoned(
    make_rig: MakeRig, dataset: str, storage: Storage
) -> None:
    rig: Rig = make_rig(mlflow_tracking_uri=f"http://127.0.0.1:{free_port()}", mlflow_retry_seconds=1e-6)
    job_id = queued(rig.engine, spec=spec(name="steps=5", dataset=dataset))
    rig.run(job_id)
    assert state_of(rig.engine, job_id) is JobState.SUCCEEDED
    assert [message.payload for message in pending_exports(rig.engine)] == [{"job_id": job_id}]
    mlflow_exporter = Exporter(rig.settings, rig.engine, storage)
    tries = 0
    while pending_exports(rig.engine):
        tries += mlflow_exporter.export_one()
    assert tries == 10


def test_export_is_disabled_by_default(make_rig: MakeRig, dataset: str) -> None:
    rig = make_rig()
    rig.run(queued(rig.engine, spec=spec(name="steps=5", dataset=dataset)))
    assert pending_exports(rig.engine) == []


def test_export_of_a_deleted_job_is_dropped(engine: Engine, storage: Storage) -> None:
    job_id = finished_job(engine, storage)
    with session_scope(engine) as session:
        crud.remove(session, job_id)
    assert exporter(engine, storage, f"http://127.0.0.1:{free_port()}").export_one()
    assert pending_exports(engine) == []


def test_unresponsive_server_times_out_and_its_password_is_hidden() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unresponsive:
        port = unresponsive.getsockname()[1]
        server = MlflowServer(f"http://user:a-password@127.0.0.1:{port}", timeout=0.2)
        with pytest.raises(TrackingFailed) as raised:
            server.experiment("ttm")
    assert "password" not in raised.value.message
