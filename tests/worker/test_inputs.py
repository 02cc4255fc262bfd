import io
from pathlib import Path

import pytest

from tests.support.factories import queued, running
from tests.support.factories import spec as body
from tests.support.rig import Rig
from ttm_core.spec import DistillSpec
from ttm_jobs.database import session_scope
from ttm_jobs.errors import (
    ChecksumMismatch,
    JobNotFinished,
    ObjectNotFound,
    UploadNotComplete,
    UriNotAllowed,
)
from ttm_jobs.models import Upload
from ttm_jobs.repositories import endings, leases, uploads
from ttm_jobs.repositories.artifacts import PublishedFile
from worker.inputs import Inputs


def upload(rig: Rig, data: bytes, filename: str | None = "teacher.safetensors", complete: bool = True) -> Upload:
    with session_scope(rig.engine) as session:
        made = uploads.begin(session, filename=filename, media_type="application/octet-stream")
        stored = rig.storage.put(made.key, io.BytesIO(data))
        return uploads.complete(session, made.id, size=stored.size, sha256=stored.sha256) if complete else made


@pytest.fixture
def inputs(rig: Rig) -> Inputs:
    return Inputs(rig.engine, rig.storage, rig.settings)


def resolve(inputs: Inputs, **fields: object) -> dict[str, str | None]:
    return inputs.resolve(DistillSpec.model_validate({**body(), **fields}))


def test_each_address_becomes_a_local_path(rig: Rig, inputs: Inputs, dataset: str) -> None:
    teacher = upload(rig, b"teacher")
    archive = upload(rig, b"archive", "my pets.tar.gz")
    found = resolve(inputs, teacher=f"upload:{teacher.id}", dataset=f"upload:{archive.id}")
    assert found["student"] is None
    assert Path(found["teacher"] or "").read_bytes() == b"teacher"
    assert Path(found["teacher"] or "").name == "teacher.safetensors"
    assert Path(found["dataset"] or "").read_bytes() == b"archive"
    assert Path(found["dataset"] or "").name == "my_pets.tar.gz"
    assert resolve(inputs, dataset=dataset)["dataset"] == dataset.removeprefix("file://")


def test_the_student_of_a_job_may_be_a_teacher(rig: Rig, inputs: Inputs, dataset: str) -> None:
    lease = running(rig.engine)
    stored = rig.storage.put("jobs/x/student", io.BytesIO(b"student"))
    address = {"teacher": f"job:{lease.job_id}", "dataset": dataset}
    with pytest.raises(JobNotFinished):
        resolve(inputs, **address)
    with session_scope(rig.engine) as session:
        file = PublishedFile("student.safetensors", "jobs/x/student", "x/y", stored.size, stored.sha256)
        endings.succeeded(session, leases.fence(session, lease), result={}, files=[file])
    assert Path(resolve(inputs, **address)["teacher"] or "").read_bytes() == b"student"


def test_what_was_fetched_is_not_fetched_again(rig: Rig, inputs: Inputs, dataset: str) -> None:
    teacher = upload(rig, b"teacher")
    first = resolve(inputs, teacher=f"upload:{teacher.id}", dataset=dataset)
    rig.storage.delete(teacher.key)
    assert resolve(inputs, teacher=f"upload:{teacher.id}", dataset=dataset) == first


def test_what_is_damaged_in_storage_is_not_used(rig: Rig, inputs: Inputs, dataset: str) -> None:
    teacher = upload(rig, b"teacher")
    rig.storage.put(teacher.key, io.BytesIO(b"danger!"))
    with pytest.raises(ChecksumMismatch):
        resolve(inputs, teacher=f"upload:{teacher.id}", dataset=dataset)
    assert [path for path in rig.settings.work_dir.rglob("*") if path.is_file()] == []


def test_what_was_cut_short_in_the_cache_is_fetched_again(rig: Rig, inputs: Inputs, dataset: str) -> None:
    teacher = upload(rig, b"teacher")
    path = Path(resolve(inputs, teacher=f"upload:{teacher.id}", dataset=dataset)["teacher"] or "")
    path.write_bytes(b"tea")
    resolve(inputs, teacher=f"upload:{teacher.id}", dataset=dataset)
    assert path.read_bytes() == b"teacher"


def test_what_is_not_whole_or_gone(rig: Rig, inputs: Inputs, dataset: str) -> None:
    partial = upload(rig, b"teacher", complete=False)
    with pytest.raises(UploadNotComplete):
        resolve(inputs, teacher=f"upload:{partial.id}", dataset=dataset)
    lost = upload(rig, b"teacher")
    rig.storage.delete(lost.key)
    with pytest.raises(ObjectNotFound):
        resolve(inputs, teacher=f"upload:{lost.id}", dataset=dataset)
    with pytest.raises(JobNotFinished):
        resolve(inputs, teacher=f"job:{queued(rig.engine)}", dataset=dataset)
    with pytest.raises(UriNotAllowed):
        resolve(inputs, dataset="file:///etc/passwd")


@pytest.mark.parametrize(
    "name", ["../../evil.tar", "/etc/passwd", "..", ".", "", "a\x00b", "ü/ö.zip", "x" * 255, "-rf"]
)
def test_file_names_of_strangers_stay_in_the_cache(rig: Rig, inputs: Inputs, name: str) -> None:
    if rig.engine.dialect.name == "postgresql" and "\x00" in name:
        return  # PostgreSQL's text holds no NUL, so no such row can be.
    archive = upload(rig, b"archive", name)
    path = Path(resolve(inputs, dataset=f"upload:{archive.id}")["dataset"] or "")
    assert path.resolve().is_relative_to(rig.settings.work_dir.resolve() / "inputs")
    assert path.read_bytes() == b"archive"
