import hashlib
from pathlib import Path

import pytest

from ttm_core.spec.events import Artifact
from ttm_jobs.errors import ChecksumMismatch, Invalid
from ttm_jobs.repositories.jobs.leases import Lease
from ttm_jobs.storage import Storage
from worker.run.publish import delete_objects, publish_artifacts

LEASE = Lease("job-1", "worker-1", 3)


def artifact(directory: Path, name: str, data: bytes = b"data") -> Artifact:
    (directory / name).write_bytes(data)
    sha256 = hashlib.sha256(data).hexdigest()
    return Artifact(name=name, path=name, media_type="x/y", size=len(data), sha256=sha256)


def test_artifact_keys_contain_the_lease_epoch(storage: Storage, tmp_path: Path) -> None:
    files = [artifact(tmp_path, "student.safetensors"), artifact(tmp_path, "report.json")]
    published = publish_artifacts(storage, LEASE, tmp_path, files)
    assert [file.key for file in published] == ["jobs/job-1/3/student.safetensors", "jobs/job-1/3/report.json"]
    assert sorted(storage.list()) == sorted(file.key for file in published)


@pytest.mark.parametrize("defect", ["changed", "missing", "outside", "invalid name"])
def test_incomplete_artifact_set_is_removed(storage: Storage, tmp_path: Path, defect: str) -> None:
    student, report = artifact(tmp_path, "student.safetensors"), artifact(tmp_path, "report.json")
    expected: type[Exception] = ValueError
    match defect:
        case "changed":
            (tmp_path / "report.json").write_bytes(b"other")
            expected = ChecksumMismatch
        case "missing":
            (tmp_path / "report.json").unlink()
            expected = FileNotFoundError
        case "outside":
            report = report.model_copy(update={"path": "../../etc/passwd"})
        case _:
            report = report.model_copy(update={"name": "../report"})
            expected = Invalid
    with pytest.raises(expected):
        publish_artifacts(storage, LEASE, tmp_path, [student, report])
    assert list(storage.list()) == []


def test_artifact_set_without_a_student_is_rejected(storage: Storage, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no student"):
        publish_artifacts(storage, LEASE, tmp_path, [artifact(tmp_path, "report.json")])


def test_undeletable_object_does_not_stop_the_deletion_of_others(storage: Storage, tmp_path: Path) -> None:
    publish_artifacts(storage, LEASE, tmp_path, [artifact(tmp_path, "student.safetensors")])
    delete_objects(storage, ["no/../key", "jobs/job-1/3/student.safetensors"])
    assert list(storage.list()) == []
