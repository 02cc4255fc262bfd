"""Measurements, devices and requests in both databases."""

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, update

from tests.support.factories import queued
from tests.support.measuring import artifact_of, measured, succeed_with_onnx
from ttm_jobs.database.clock import now
from ttm_jobs.database.engine import read_scope, session_scope
from ttm_jobs.database.tenancy import bound_to
from ttm_jobs.errors import MeasurementMismatch, MeasurementRequestNotFound
from ttm_jobs.models import Job, MeasurementRequest, RequestState
from ttm_jobs.repositories.jobs import crud
from ttm_jobs.repositories.measuring import devices, measurements, requests
from ttm_jobs.storage import Storage, build_storage

FILES = {"student.onnx": b"float", "student-int8.onnx": b"int8"}


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return build_storage(f"file:{tmp_path / 'storage'}")


@pytest.fixture
def job_id(engine: Engine, storage: Storage) -> str:
    job_id = queued(engine)
    succeed_with_onnx(engine, storage, job_id, FILES)
    return job_id


def record(engine: Engine, job_id: str, artifact: str = "student.onnx", device: str = "pi5", **fields) -> None:
    sha256 = fields.pop("sha256", None) or artifact_of(engine, job_id, artifact).sha256
    with session_scope(engine) as session:
        job = session.get_one(Job, job_id)
        measurements.record(session, job, artifact, device, measured(sha256, **fields), created_by="board")


def found(engine: Engine, job_id: str) -> list[tuple[str, str, int, float]]:
    with read_scope(engine) as session:
        return [(row.device, row.artifact, row.threads, row.p50_ms) for row in measurements.of_job(session, job_id)]


def test_repeated_measurement_replaces_the_earlier_one(engine, job_id):
    record(engine, job_id, p50_ms=2.0)
    record(engine, job_id, p50_ms=3.0)
    record(engine, job_id, p50_ms=1.0, threads=4)
    record(engine, job_id, p50_ms=9.0, device="laptop")
    assert found(engine, job_id) == [
        ("laptop", "student.onnx", 1, 9.0),
        ("pi5", "student.onnx", 1, 3.0),
        ("pi5", "student.onnx", 4, 1.0),
    ]


def test_measurements_of_replaced_files_are_omitted(engine, job_id):
    record(engine, job_id, sha256="0" * 64)
    assert found(engine, job_id) == []


def test_measurements_and_requests_are_deleted_with_their_job(engine, job_id):
    record(engine, job_id)
    artifact = artifact_of(engine, job_id, "student.onnx")
    with session_scope(engine) as session:
        requests.request_artifact(session, artifact, device="pi5")
    with session_scope(engine) as session:
        crud.remove(session, job_id)
    with session_scope(engine) as session:
        assert measurements.of_job(session, job_id) == []
        assert requests.claim(session, "pi5") is None


def test_devices_show_what_they_measured(engine, job_id):
    record(engine, job_id, cpu="Cortex-A76")
    record(engine, job_id, "student-int8.onnx", cpu="Cortex-A76")
    with session_scope(engine) as session:
        requests.request_artifact(session, artifact_of(engine, job_id, "student.onnx"), device="pi5")
        devices.seen(session, "default", "phone")
    with session_scope(bound_to(engine, "other")) as session:
        assert devices.list_all(session) == []
    with session_scope(bound_to(engine, "default")) as session:
        phone, pi5 = devices.list_all(session)
    assert (phone.name, phone.cpu, phone.measurements, phone.last_measured_at) == ("phone", None, 0, None)
    assert (pi5.cpu, pi5.measurements, pi5.jobs, pi5.pending_requests) == ("Cortex-A76", 2, 1, 1)
    assert pi5.last_measured_at is not None


def ask(engine: Engine, name: str = "a", **fields) -> str:
    with session_scope(engine) as session:
        return requests.request(session, device="pi5", key=f"k/{name}", sha256=name * 64, size=5, **fields).id


def claim(engine: Engine, device: str = "pi5") -> str | None:
    with session_scope(engine) as session:
        claimed = requests.claim(session, device)
        return claimed and claimed.id


def test_requests_are_claimed_once_in_order_and_by_their_device_only(engine):
    first, second = ask(engine, "a"), ask(engine, "b")
    assert claim(engine, "phone") is None
    assert [claim(engine), claim(engine), claim(engine)] == [first, second, None]


def test_equal_unfinished_request_is_reused(engine):
    first = ask(engine, "a", threads=None)
    assert ask(engine, "a", threads=None) == first
    assert ask(engine, "a", threads=2) != first
    assert ask(engine, "a", batch=32, threads=None) != first
    claim(engine)
    with session_scope(engine) as session:
        requests.complete(session, first, measured("a" * 64), created_by=None)
    assert ask(engine, "a", threads=None) != first


def test_expired_claim_is_claimed_again_until_it_fails(engine):
    request_id = ask(engine)
    for _ in range(requests.MAX_CLAIMS):
        assert claim(engine) == request_id
        with session_scope(engine) as session:
            session.execute(update(MeasurementRequest).values(lease_expires_at=now(session) - timedelta(seconds=1)))
    assert claim(engine) is None
    with session_scope(engine) as session:
        row = requests.get(session, request_id)
        assert row.state is RequestState.FAILED
        assert "without a result" in row.error


def test_completion_stores_the_result_and_the_artifacts_measurement(engine, job_id):
    artifact = artifact_of(engine, job_id, "student.onnx")
    with session_scope(engine) as session:
        request_id = requests.request_artifact(session, artifact, device="pi5", threads=None).id
    assert claim(engine) == request_id
    for _ in range(2):  # repeating it has no effect
        with session_scope(engine) as session:
            done = requests.complete(
                session, request_id, measured(artifact.sha256, threads=4, p50_ms=5.0), created_by="board"
            )
            assert (done.state, done.result["p50_ms"]) == (RequestState.DONE, 5.0)
    assert found(engine, job_id) == [("pi5", "student.onnx", 4, 5.0)]
    with session_scope(engine) as session:
        assert requests.fail(session, request_id, "too late").state is RequestState.DONE


@pytest.mark.parametrize(("sha256", "fields"), [("b" * 64, {}), ("a" * 64, {"batch": 2}), ("a" * 64, {"threads": 2})])
def test_result_of_another_measurement_is_refused(engine, sha256, fields):
    request_id = ask(engine, "a", batch=1, threads=1)
    with session_scope(engine) as session, pytest.raises(MeasurementMismatch):
        requests.complete(session, request_id, measured(sha256, **fields), created_by=None)


def test_requests_of_other_projects_do_not_exist(engine):
    request_id = ask(engine)
    other = bound_to(engine, "other")
    assert claim(other) is None
    with session_scope(other) as session, pytest.raises(MeasurementRequestNotFound):
        requests.get(session, request_id)
