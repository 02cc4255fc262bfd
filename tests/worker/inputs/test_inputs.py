import io
from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import Literal

import obstore
import pytest

from tests.support.azure_server import AzureServer
from tests.support.clouds import CLOUDS, new_bucket
from tests.support.factories import job_of, queued, running
from tests.support.factories import spec as body
from tests.support.hostile_host import CONTENT, HostileHost
from tests.support.rig import MakeRig, Rig
from tests.support.s3_server import S3Server
from ttm_core.data.cache import DataCache
from ttm_core.spec.job import DistillSpec
from ttm_jobs.database.engine import session_scope
from ttm_jobs.errors import (
    ChecksumMismatch,
    FetchStopped,
    JobNotFinished,
    ObjectNotFound,
    SourceRefused,
    StorageUnreachable,
    TooLarge,
    UploadNotComplete,
    UriNotAllowed,
)
from ttm_jobs.models import Upload
from ttm_jobs.repositories import uploads
from ttm_jobs.repositories.jobs import leases, lifecycle
from ttm_jobs.repositories.run_data.artifacts import PublishedFile
from ttm_jobs.repositories.uploads import StoredPart
from ttm_jobs.sources import AllowedSources
from ttm_jobs.states import JobState
from ttm_jobs.storage.connect import connect
from worker.inputs import Inputs, Paths
from worker.inputs.names import check_name


def upload(rig: Rig, data: bytes, filename: str | None = "teacher.safetensors", complete: bool = True) -> Upload:
    with session_scope(rig.engine) as session:
        made = uploads.create(session, filename=filename, media_type="application/octet-stream")
        stored = rig.storage.put(made.key, io.BytesIO(data))
        return uploads.complete(session, made.id, size=stored.size, sha256=stored.sha256) if complete else made


def inputs_of(rig: Rig) -> Inputs:
    return Inputs(rig.engine, rig.storage, rig.settings)


@pytest.fixture
def inputs(rig: Rig) -> Inputs:
    return inputs_of(rig)


def resolve(inputs: Inputs, **fields: object) -> Paths:
    return inputs.resolve(DistillSpec.model_validate({**body(), **fields}), AllowedSources.of_service(inputs._settings))


def test_each_uri_resolves_to_a_local_path(rig: Rig, inputs: Inputs, dataset: str) -> None:
    teacher = upload(rig, b"teacher")
    archive = upload(rig, b"archive", "my pets.tar.gz")
    found = resolve(inputs, teacher=f"upload:{teacher.id}", dataset=f"upload:{archive.id}")
    assert found["student"] is None
    assert Path(found["teachers"][0] or "").read_bytes() == b"teacher"
    assert Path(found["teachers"][0] or "").name == "teacher.safetensors"
    assert Path(found["dataset"] or "").read_bytes() == b"archive"
    assert Path(found["dataset"] or "").name == "my_pets.tar.gz"
    assert resolve(inputs, dataset=dataset)["dataset"] == dataset.removeprefix("file://")


def test_upload_in_parts_resolves_to_one_file(rig: Rig, inputs: Inputs, dataset: str) -> None:
    content = [b"one", b"two", b"three"]
    with session_scope(rig.engine) as session:
        made = uploads.create(session, filename="teacher.pt", media_type="x/y", size=len(b"".join(content)))
        parts = [
            StoredPart(
                f"upload-parts/{made.id}/{number}", rig.storage.put(f"upload-parts/{made.id}/{number}", [part]).size
            )
            for number, part in enumerate(content)
        ]
        uploads.add_parts(session, made.id, start=0, parts=parts, sha256=sha256(b"".join(content)).hexdigest())
    found = resolve(inputs, teacher=f"upload:{made.id}", dataset=dataset)
    assert Path(found["teachers"][0] or "").read_bytes() == b"onetwothree"


def test_student_of_a_job_can_be_a_teacher(rig: Rig, inputs: Inputs, dataset: str) -> None:
    lease = running(rig.engine)
    stored = rig.storage.put("jobs/x/student", io.BytesIO(b"student"))
    address = {"teacher": f"job:{lease.job_id}", "dataset": dataset}
    with pytest.raises(JobNotFinished):
        resolve(inputs, **address)
    with session_scope(rig.engine) as session:
        file = PublishedFile("student.safetensors", "jobs/x/student", "x/y", stored.size, stored.sha256)
        lifecycle.succeeded(session, leases.fence(session, lease), result={}, files=[file])
    assert Path(resolve(inputs, **address)["teachers"][0] or "").read_bytes() == b"student"


def test_fetched_input_is_cached(rig: Rig, inputs: Inputs, dataset: str) -> None:
    teacher = upload(rig, b"teacher")
    first = resolve(inputs, teacher=f"upload:{teacher.id}", dataset=dataset)
    rig.storage.delete(teacher.key)
    assert resolve(inputs, teacher=f"upload:{teacher.id}", dataset=dataset) == first


def test_damaged_object_in_storage_is_rejected(rig: Rig, inputs: Inputs, dataset: str) -> None:
    teacher = upload(rig, b"teacher")
    rig.storage.put(teacher.key, io.BytesIO(b"danger!"))
    with pytest.raises(ChecksumMismatch):
        resolve(inputs, teacher=f"upload:{teacher.id}", dataset=dataset)
    assert [
        path for path in rig.settings.work_dir.rglob("[!.]*") if path.is_file() and ".locks" not in path.parts
    ] == []


def test_incomplete_or_missing_input_is_rejected(rig: Rig, inputs: Inputs, dataset: str) -> None:
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


@pytest.mark.parametrize("name", ["../../evil.tar", "/etc/passwd", "..", ".", "", "ü/ö.zip", "x" * 255, "-rf"])
def test_untrusted_file_names_stay_inside_the_cache(rig: Rig, inputs: Inputs, name: str) -> None:
    archive = upload(rig, b"archive", name)
    path = Path(resolve(inputs, dataset=f"upload:{archive.id}")["dataset"] or "")
    assert path.resolve().is_relative_to(rig.settings.work_dir.resolve() / "data")
    assert path.read_bytes() == b"archive"


def test_http_input_is_fetched_once_for_all_jobs(make_rig: MakeRig) -> None:
    with HostileHost() as host:
        allowed = {"allowed_origins": host.origin, "private_hosts": f"127.0.0.1:{host.port}", "allowed_buckets": ""}
        rig = make_rig(**allowed)
        inputs = inputs_of(rig)
        first = resolve(inputs, dataset=f"{host.origin}/file")["dataset"]
        assert Path(first or "").read_bytes() == CONTENT
        second = resolve(inputs_of(make_rig(**allowed, work_dir=rig.settings.work_dir)), dataset=f"{host.origin}/file")
        assert second["dataset"] == first
        assert len(host.requests) == 3  # version check and fetch; second version check
        with pytest.raises(UriNotAllowed):
            resolve(inputs, dataset=f"http://127.0.0.1:{host.port + 1}/file")
        with pytest.raises(UriNotAllowed):
            resolve(inputs_of(make_rig(allowed_origins=host.origin)), dataset=f"{host.origin}/file")


def test_sources_of_other_projects_are_refused(make_rig: MakeRig, tmp_path: Path) -> None:
    data = tmp_path / "data"
    for folder in ("a", "b/pets"):
        (data / folder).mkdir(parents=True)
    with HostileHost() as host, HostileHost() as other:
        hosts = f"127.0.0.1:{host.port},127.0.0.1:{other.port}"
        rig = make_rig(allowed_origins=f"{host.origin},{other.origin}", private_hosts=hosts, allowed_buckets="pets-a")
        inputs = inputs_of(rig)
        allowed = AllowedSources.of_service(rig.settings).restricted_to([str(data / "b")], [host.origin], [])

        def found(uri: str) -> str:
            return inputs.resolve(DistillSpec.model_validate({**body(), "dataset": uri}), allowed)["dataset"]

        assert found((data / "b").as_uri()) == str(data / "b")
        assert Path(found(f"{host.origin}/file")).read_bytes() == CONTENT
        redirected = f"{host.origin}/redirect?{other.origin}/file"
        for uri in ((data / "a").as_uri(), f"{other.origin}/file", redirected, "s3://pets-a/train/"):
            with pytest.raises(UriNotAllowed):
                found(uri)
        assert other.requests == []
        (data / "b/pets/link").symlink_to(data / "b")
        assert found((data / "b").as_uri())
        (data / "b/pets/out").symlink_to(data / "a")
        with pytest.raises(UriNotAllowed, match="ttm projects restrict"):
            found((data / "b").as_uri())


def test_objects_and_folders_of_a_bucket_are_fetched(make_rig: MakeRig, s3_server: S3Server) -> None:
    bucket = s3_server.new_bucket()
    for key in ("pets/train/cat/1.png", "pets/train/dog/2.png", "pets/", "pets-not/x", "teacher.pt"):
        s3_server.put(bucket, key, key.encode())
    rig = make_rig(
        allowed_buckets=bucket,
        s3_endpoint=s3_server.url,
        s3_region="us-east-1",
        s3_access_key_id="an-access-key",
        s3_secret_access_key="a-secret",
    )
    inputs = inputs_of(rig)
    found = resolve(inputs, teacher=f"s3://{bucket}/teacher.pt", dataset=f"s3://{bucket}/pets/")
    assert Path(found["teachers"][0] or "").read_bytes() == b"teacher.pt"
    assert Path(found["teachers"][0] or "").suffix == ".pt"
    folder = Path(found["dataset"] or "")
    files = {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}
    assert files == {name: f"pets/{name}" for name in ("train/cat/1.png", "train/dog/2.png")}
    s3_server.put(bucket, "pets/train/cat/1.png", b"another")
    newer = Path(resolve(inputs, dataset=f"s3://{bucket}/pets/")["dataset"] or "")
    assert (newer / "train/cat/1.png").read_bytes() == b"another"
    for uri, kind in {
        f"s3://{bucket}/absent": SourceRefused,
        f"s3://{bucket}/pets": SourceRefused,
        f"s3://{bucket}/absent/": SourceRefused,
        "s3://another/x": UriNotAllowed,
    }.items():
        with pytest.raises(kind):
            resolve(inputs, dataset=uri)
    with pytest.raises(TooLarge):
        resolve(
            inputs_of(make_rig(**{**rig.settings.model_dump(), "fetch_max_bytes": 10})), dataset=f"s3://{bucket}/pets/"
        )


@pytest.mark.parametrize("scheme", CLOUDS)
def test_buckets_of_other_clouds_are_fetched(
    make_rig: MakeRig, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, scheme: Literal["gs", "az"]
) -> None:
    bucket = new_bucket(request, monkeypatch, scheme)
    store = connect(scheme, bucket.rpartition("/")[2])
    for key in ("pets/train/cat/1.png", "pets/train/dog/2.png", "pets-not/x", "teacher.pt"):
        obstore.put(store, key, key.encode())
    inputs = inputs_of(make_rig(allowed_buckets=bucket))
    found = resolve(inputs, teacher=f"{bucket}/teacher.pt", dataset=f"{bucket}/pets/")
    assert Path(found["teachers"][0] or "").read_bytes() == b"teacher.pt"
    folder = Path(found["dataset"] or "")
    files = {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}
    assert files == {name: f"pets/{name}" for name in ("train/cat/1.png", "train/dog/2.png")}
    for uri in (f"{bucket}/absent", f"{bucket}/absent/"):
        with pytest.raises(SourceRefused):
            resolve(inputs, dataset=uri)
    with pytest.raises(UriNotAllowed, match="is not an allowed bucket"):
        resolve(inputs_of(make_rig(allowed_buckets=bucket.rpartition("/")[2])), dataset=f"{bucket}/pets/")


@pytest.mark.parametrize("path", ["pets/", "teacher.pt"])
def test_bucket_without_permission_is_refused(
    make_rig: MakeRig, azure_server: AzureServer, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    for name, value in azure_server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", b64encode(b"the key of another account").decode())
    bucket = f"az://{azure_server.new_bucket()}"
    with pytest.raises(SourceRefused, match=f"may not read {bucket}. Grant its credentials read access"):
        resolve(inputs_of(make_rig(allowed_buckets=bucket)), dataset=f"{bucket}/{path}")


def test_missing_account_is_reported(make_rig: MakeRig) -> None:
    with pytest.raises(StorageUnreachable, match="Set AZURE_STORAGE_ACCOUNT_NAME"):
        resolve(inputs_of(make_rig(allowed_buckets="az://pets")), dataset="az://pets/train/")


@pytest.mark.parametrize("name", ["a/../b", "a/" + 300 * "x", "a/\x07"])
def test_object_with_an_invalid_file_name_is_refused(name: str) -> None:
    with pytest.raises(SourceRefused):
        check_name(name)


def test_stop_request_interrupts_a_storage_fetch_between_chunks(rig: Rig, inputs: Inputs, dataset: str) -> None:
    teacher = upload(rig, b"teacher")
    spec = DistillSpec.model_validate({**body(), "teacher": f"upload:{teacher.id}", "dataset": dataset})
    with pytest.raises(FetchStopped):
        inputs.resolve(spec, AllowedSources.of_service(rig.settings), should_stop=lambda: True)


def test_cache_is_limited_and_keeps_inputs_in_use(make_rig: MakeRig, dataset: str) -> None:
    rig = make_rig(data_cache_max_bytes=1)
    inputs = inputs_of(rig)
    first, second = (upload(rig, bytes([number]) * 100_000) for number in range(2))
    one = Path(resolve(inputs, teacher=f"upload:{first.id}", dataset=dataset)["teachers"][0] or "")
    other = inputs_of(make_rig(work_dir=rig.settings.work_dir, data_cache_max_bytes=1))
    two = Path(resolve(other, teacher=f"upload:{second.id}", dataset=dataset)["teachers"][0] or "")
    assert one.exists()  # its worker has not started another job
    resolve(inputs, dataset=dataset)
    assert not one.exists()
    assert two.exists()


def test_inputs_of_a_job_that_has_ended_can_be_evicted(rig: Rig) -> None:
    """A worker without a job would otherwise keep them, although another worker needs the space."""
    content = upload(rig, b"x" * 100_000, "pets.tar")
    job_id = queued(rig.engine, spec=body(dataset=f"upload:{content.id}"))
    rig.run(job_id)
    assert job_of(rig.engine, job_id).state is JobState.SUCCEEDED
    root = rig.settings.work_dir / "data"
    (entry,) = root.glob("sha256-*")
    DataCache(root, 0).make_room()
    assert not entry.exists()
