import hashlib
from dataclasses import asdict
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from tests.support.factories import claimed, job_of, running
from tests.support.measuring import measured
from tests.support.rig import Rig
from ttm_core.spec.events import CheckpointSaved, Log, Measured, Metrics, PhaseChanged, Progress
from ttm_core.spec.speed.measurement import FileMeasurement
from ttm_jobs.database.engine import read_scope, session_scope
from ttm_jobs.errors import LeaseLost, StorageFull
from ttm_jobs.repositories.jobs import control, crud, leases, lifecycle
from ttm_jobs.repositories.jobs.leases import Lease
from ttm_jobs.repositories.measuring import devices, measurements
from ttm_jobs.repositories.run_data import artifacts, events, recording
from ttm_jobs.repositories.run_data.artifacts import PublishedFile
from ttm_jobs.repositories.run_data.events import StreamEvent
from ttm_jobs.states import JobState
from worker.run import recorder as module
from worker.run.recorder import Recorder


@pytest.fixture
def lease(rig: Rig) -> Lease:
    return running(rig.engine)


@pytest.fixture
def recorder(rig: Rig, lease: Lease, tmp_path: Path) -> Recorder:
    return Recorder(rig.engine, rig.storage, lease, tmp_path)


def stream(rig: Rig, job_id: str) -> list[StreamEvent]:
    with read_scope(rig.engine) as session:
        return list(events.after(session, job_id, 2))


def progress(step: int) -> Progress:
    return Progress(step=step, total_steps=9, epoch=1, epochs=1, images_per_second=1.0, eta_seconds=None)


def checkpoint(directory: Path, step: int, data: bytes = b"weights") -> CheckpointSaved:
    path = directory / f"step-{step}"
    path.write_bytes(data)
    sha256 = hashlib.sha256(data).hexdigest()
    return CheckpointSaved(step=step, epoch=0, path=path.name, sha256=sha256, size=len(data), best=False)


def test_measurements_are_recorded_once_their_artifact_is_published(rig: Rig, lease: Lease, recorder: Recorder) -> None:
    values = asdict(measured("0" * 64))
    recorder.add(Measured(measurement=FileMeasurement(file="student.onnx", device="a-worker", **values)))
    recorder.flush()
    with session_scope(rig.engine) as session:
        assert measurements.of_job(session, lease.job_id) == []
        file = PublishedFile("student.onnx", "k", "application/octet-stream", 1, "0" * 64)
        artifacts.record(session, crud.get(session, lease.job_id), [file])
        (row,) = measurements.of_job(session, lease.job_id)
        assert (row.device, row.artifact, row.p50_ms, row.created_by) == ("a-worker", "student.onnx", 2.0, "worker")
        assert [device.name for device in devices.list_all(session)] == ["a-worker"]


def test_flush_writes_buffered_events_and_reports_the_state(rig: Rig, lease: Lease, recorder: Recorder) -> None:
    assert recorder.flush() is None
    recorder.add(PhaseChanged(phase="training"))
    recorder.add(Metrics(step=1, epoch=0.1, values={"train/loss": float("nan")}))
    assert recorder.flush() is JobState.RUNNING
    assert recorder.flush() is None
    assert [event.kind for event in stream(rig, lease.job_id)] == ["phase", "metrics"]
    assert stream(rig, lease.job_id)[1].data["values"] == {"train/loss": "NaN"}
    with session_scope(rig.engine) as session:
        control.request_cancel(session, lease.job_id)
    recorder.add(progress(2))
    assert recorder.flush() is JobState.CANCELLING


def test_only_the_newest_buffered_progress_is_written(rig: Rig, lease: Lease, recorder: Recorder) -> None:
    for step in (1, 2, 3):
        recorder.add(progress(step))
        recorder.add(Log(message=str(step)))
    recorder.flush()
    assert [event.kind for event in stream(rig, lease.job_id)] == ["log", "log", "progress", "log"]
    assert (job_of(rig.engine, lease.job_id).progress or {})["step"] == 3


def test_commit_with_a_lost_response_is_not_written_twice(
    rig: Rig, lease: Lease, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder.add(Log(message="one"))
    original_scope = session_scope

    class CommitResponseLost:
        """Commits, then raises as if the commit had failed."""

        def __init__(self, engine: object) -> None:
            self.scope = original_scope(rig.engine)

        def __enter__(self) -> object:
            return self.scope.__enter__()

        def __exit__(self, *error: object) -> None:
            self.scope.__exit__(None, None, None)
            raise OperationalError("COMMIT", {}, ConnectionResetError())

    monkeypatch.setattr(module, "session_scope", CommitResponseLost)
    with pytest.raises(OperationalError):
        recorder.flush()
    monkeypatch.setattr(module, "session_scope", original_scope)
    recorder.add(Log(message="two"))
    recorder.flush()
    assert [event.data["message"] for event in stream(rig, lease.job_id)] == ["one", "two"]


def test_checkpoint_is_stored_before_it_is_recorded(rig: Rig, lease: Lease, recorder: Recorder, tmp_path: Path) -> None:
    recorder.add(checkpoint(tmp_path, 5))
    recorder.flush()
    with read_scope(rig.engine) as session:
        [row] = recording.checkpoints(session, lease.job_id)
    assert row.path == "step-5"
    assert rig.read(row.key) == b"weights"
    for step in (6, 7, 8):
        recorder.add(checkpoint(tmp_path, step))
        recorder.flush()
    assert [key.rpartition("/")[2] for key in rig.storage.list()] == ["7", "8"]


def test_checkpoint_removed_by_the_trainer_is_skipped(
    rig: Rig, lease: Lease, recorder: Recorder, tmp_path: Path
) -> None:
    event = checkpoint(tmp_path, 5)
    (tmp_path / event.path).unlink()
    recorder.add(event)
    recorder.add(checkpoint(tmp_path, 6))
    recorder.flush()
    assert [event.data["step"] for event in stream(rig, lease.job_id)] == [6]


def test_full_storage_skips_only_the_checkpoint(
    rig: Rig, lease: Lease, recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(key: str, source: object) -> None:
        raise StorageFull("full")

    recorder.add(checkpoint(tmp_path, 5))
    recorder.flush()
    recorder.add(Log(message="kept"))
    recorder.add(checkpoint(tmp_path, 6))
    monkeypatch.setattr(rig.storage, "put", full)
    with pytest.raises(StorageFull):
        recorder.flush()
    recorder.flush()
    assert [event.kind for event in stream(rig, lease.job_id)] == ["checkpoint", "log"]
    with read_scope(rig.engine) as session:
        assert [row.step for row in recording.checkpoints(session, lease.job_id)] == [5]


def test_unreachable_storage_skips_only_the_checkpoint(
    rig: Rig, lease: Lease, recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object) -> None:
        raise ConnectionRefusedError

    for step in (1, 2, 3):
        recorder.add(checkpoint(tmp_path, step))
        recorder.flush()
    with monkeypatch.context() as patch:
        patch.setattr(rig.storage, "put", unreachable)
        recorder.add(checkpoint(tmp_path, 4))
        recorder.flush()
    with monkeypatch.context() as patch:
        # An object that cannot be deleted stays.
        patch.setattr(rig.storage, "delete", unreachable)
        recorder.add(checkpoint(tmp_path, 5))
        recorder.flush()
    assert [event.data["step"] for event in stream(rig, lease.job_id)] == [1, 2, 3, 5]


def test_rewritten_checkpoint_path_is_stored_again(rig: Rig, lease: Lease, recorder: Recorder, tmp_path: Path) -> None:
    for step, data in ((1, b"old"), (2, b"new")):
        saved = checkpoint(tmp_path, step, data)
        (tmp_path / saved.path).rename(tmp_path / "same")
        recorder.add(saved.model_copy(update={"path": "same"}))
        recorder.flush()
    with read_scope(rig.engine) as session:
        assert [rig.read(row.key) for row in recording.checkpoints(session, lease.job_id)] == [b"new", b"old"]


@pytest.mark.parametrize("path", ["../outside", "/etc/passwd", "link"])
def test_checkpoint_path_outside_the_work_directory_is_not_read(
    rig: Rig, recorder: Recorder, tmp_path: Path, path: str
) -> None:
    (tmp_path / "link").symlink_to("/etc/passwd")
    event = checkpoint(tmp_path, 5).model_copy(update={"path": path})
    recorder.add(event)
    with pytest.raises(ValueError, match="outside the work directory"):
        recorder.flush()
    assert list(rig.storage.list()) == []


def test_recorder_without_the_lease_writes_nothing(rig: Rig, lease: Lease, tmp_path: Path) -> None:
    other = Recorder(rig.engine, rig.storage, Lease(lease.job_id, lease.owner, lease.epoch + 1), tmp_path)
    other.add(Log(message="forged"))
    with pytest.raises(LeaseLost):
        other.flush()
    assert stream(rig, lease.job_id) == []


def test_next_attempt_starts_its_own_event_numbers(rig: Rig, lease: Lease, recorder: Recorder, tmp_path: Path) -> None:
    for number in range(5):
        recorder.add(Log(message=str(number)))
    recorder.flush()
    with session_scope(rig.engine) as session:
        lifecycle.released(session, leases.fence(session, lease), reason="drained")
    second = Recorder(rig.engine, rig.storage, claimed(rig.engine, lease.job_id, "other"), tmp_path)
    second.add(Log(message="second"))
    second.flush()
    assert stream(rig, lease.job_id)[-1].data["message"] == "second"
