"""URIs that a spec may contain."""

import os
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from tests.api.test_access import bearer, make_key
from ttm_jobs.database.engine import create_engine, session_scope
from ttm_jobs.database.ids import new_id
from ttm_jobs.models import Project
from ttm_jobs.settings import Settings


def refusal(client: TestClient, **fields: object) -> tuple[int, str, list[str], str]:
    body = {"student": "resnet18", "method": "ce", **fields}
    problem = client.post("/jobs", json=body).json()
    return problem["status"], problem["code"], [error["pointer"] for error in problem["errors"]], problem["detail"]


@pytest.fixture(scope="module")
def roots(shared_client: TestClient, shared_folder: Path) -> Path:
    """The only data root, with files, links that leave it and a neighboring folder."""
    data = shared_folder / "data"
    (data / "pets").mkdir()
    (data / "a file.tar").write_bytes(b"x")
    (shared_folder / "secret").mkdir()
    (shared_folder / "secret" / "key").write_bytes(b"x")
    (data / "link-outside").symlink_to(shared_folder / "secret")
    (data / "loop").symlink_to(data / "loop")
    (shared_folder / "data-other").mkdir()
    return data


HOSTILE = [
    "http://example.org/x",
    "https://169.254.169.254/latest/meta-data",
    "https://example.org/data.tar",
    "https://2130706433/",
    "https://[::1]/x",
    "https://user:secret@example.org/x",
    "s3://bucket/key",
    "s3://bucket/",
    "timm:../x",
    "hf:../x",
    "hf:a/../../b",
    "hf://datasets/a/../../b",
    "ftp://x/y",
    "data:text/plain,hi",
    "pipe:cat /etc/passwd",
    "file",
    "file:",
    "file:relative",
    "file:/etc/passwd",
    "file://etc/passwd",
    "file://localhost/etc/passwd",
    "file://user:pw@/etc/passwd",
    "file://127.0.0.1/etc/passwd",
    "FILE:///etc/passwd",
    "zip://x.zip::file:///etc/passwd",
    "filecache::file:///etc/passwd",
    "file:///etc/passwd?x",
    "file:///etc/passwd#x",
    "file:///etc/passwd",
    "file:///etc/%70asswd",
    "file:///etc%2Fpasswd",
    "file:///%00",
    "file:///%ff",
    "file:///etc\\passwd",
    "file:///etc/passwd\n",
    " file:///etc/passwd",
    "file:///proc/self/environ",
    "file:////etc/passwd",
    "file:///",
    "upload:",
    "upload:x",
    "upload:../../etc/passwd",
    "job:",
    "-",
    "/etc/passwd",
    "../etc",
    "x" * 2048,
]


@pytest.mark.parametrize("uri", HOSTILE)
@pytest.mark.parametrize("field", ["dataset", "teacher", "student"])
def test_other_uris_are_refused(shared_client: TestClient, roots: Path, field: str, uri: str) -> None:
    whole = {"dataset": {"uri": roots.as_uri()}}
    pointer = "/dataset/uri"
    if field == "dataset":
        whole = {"dataset": {"uri": uri}}
    else:
        whole |= {field: {"checkpoint": uri} | ({"architecture": "resnet18"} if field == "student" else {})}
        pointer = f"/{field}/checkpoint"
    status, code, at, _ = refusal(shared_client, **whole)
    assert status == 422
    assert code in ("uri_not_allowed", "invalid_request")
    assert set(at) == {pointer}


def test_file_in_a_data_root_is_accepted(shared_client: TestClient, roots: Path) -> None:
    for path in (roots, roots / "pets", roots / "a file.tar"):
        body = {"student": "resnet18", "method": "ce", "dataset": path.as_uri()}
        assert shared_client.post("/jobs", json=body).status_code == 201
    assert "%20" in (roots / "a file.tar").as_uri()


@pytest.mark.parametrize(
    "path", ["link-outside/key", "../secret/key", "pets/../../secret/key", "%2e%2e/secret/key", "loop", "../data-other"]
)
def test_paths_outside_the_data_roots_are_refused(shared_client: TestClient, roots: Path, path: str) -> None:
    assert refusal(shared_client, dataset=f"{roots.as_uri()}/{path}")[:2] == (422, "uri_not_allowed")


def test_refusal_does_not_reveal_whether_a_file_exists(
    shared_client: TestClient, roots: Path, shared_folder: Path
) -> None:
    there, not_there = shared_folder / "secret" / "key", shared_folder / "secret" / "none"
    forbidden = shared_folder / "secret" / "locked"
    forbidden.mkdir(mode=0)
    answers = {str(refusal(shared_client, dataset=path.as_uri())) for path in (there, not_there, forbidden / "x")}
    os.chmod(forbidden, 0o700)
    assert len(answers) == 1


def test_unknown_uploads_and_jobs_are_refused(shared_client: TestClient, roots: Path) -> None:
    missing = new_id()
    assert refusal(shared_client, dataset=f"upload:{missing}")[:3] == (422, "input_not_found", ["/dataset/uri"])
    at_teacher = refusal(shared_client, dataset=roots.as_uri(), teacher=f"job:{missing}")
    assert at_teacher[:3] == (422, "input_not_found", ["/teacher/checkpoint"])
    assert refusal(shared_client, dataset=f"job:{missing}")[:2] == (422, "uri_not_allowed")


def test_unlabelled_images_follow_the_rules_of_the_dataset(shared_client: TestClient, roots: Path) -> None:
    pets = (roots / "pets").as_uri()
    body = {"student": "resnet18", "method": "kd", "teacher": "timm:resnet50.a1_in1k"}
    given = {"uri": roots.as_uri(), "unlabelled": [pets]}
    created = shared_client.post("/jobs", json={**body, "dataset": given})
    assert created.status_code == 201
    assert created.json()["spec"]["dataset"]["unlabelled"] == [pets]
    for uri in ("file:///etc/passwd", f"job:{new_id()}", "timm:resnet18", "https://example.org/x"):
        wrong = {**given, "unlabelled": [pets, uri]}
        found = refusal(shared_client, **{**body, "dataset": wrong})
        assert found[:3] == (422, "uri_not_allowed", ["/dataset/unlabelled/1"])
        entry = shared_client.post("/datasets", json={"name": "pets", "dataset": wrong}).json()
        assert [error["pointer"] for error in entry["errors"]] == ["/dataset/unlabelled/1"]
        study = {"teacher": body["teacher"], "dataset": wrong, "limits": {"retention": 0.9}}
        problem = shared_client.post("/studies", json=study).json()
        assert [error["pointer"] for error in problem["errors"]] == ["/dataset/unlabelled/1"]
    same = refusal(shared_client, **{**body, "dataset": {"uri": pets, "unlabelled": [pets]}})
    assert same[:3] == (422, "invalid_request", ["/dataset/unlabelled"])


def test_only_allowed_origins_and_buckets_are_accepted(sqlite_settings: Settings, roots: Path) -> None:
    allowed = {"allowed_origins": ("https://data.example.org",), "allowed_buckets": ("pets", "gs://pets")}
    student = {"student": "resnet18", "method": "ce"}
    with TestClient(create_app(sqlite_settings.model_copy(update=allowed))) as client:
        for uri in ("https://data.example.org/pets.tar", "s3://pets/train/", "s3://pets/pets.tar", "gs://pets/train/"):
            assert client.post("/jobs", json={**student, "dataset": uri}).status_code == 201
        for uri in (
            "http://data.example.org/x",
            "https://data.example.org:8443/x",
            "https://example.org/x",
            "s3://pet/x",
            "az://pets/x",
            "timm:resnet18",
        ):
            assert refusal(client, dataset=uri)[:3] == (422, "uri_not_allowed", ["/dataset/uri"])
        distilled = {"method": "kd", "student": "resnet18", "dataset": "s3://pets/"}
        assert client.post("/jobs", json={**distilled, "teacher": "timm:resnet50.a1_in1k"}).status_code == 201


def test_restricted_project_reads_only_its_folders_hosts_and_buckets(sqlite_settings: Settings, tmp_path: Path) -> None:
    (data,) = sqlite_settings.data_roots
    for folder in ("a", "b", "b/pets", "outside"):
        (tmp_path / folder if folder == "outside" else data / folder).mkdir()
    (data / "b/link").symlink_to(data / "a")
    (data / "b/pets/key").write_bytes(b"x")
    (data / "elsewhere").symlink_to(tmp_path / "outside")
    allowed = {
        "allowed_origins": ("https://a.example", "https://b.example"),
        "allowed_buckets": ("pets-a", "pets-b", "gs://pets-b"),
    }
    engine = create_engine(sqlite_settings.database_url)
    of_a, of_b = bearer(make_key(engine, "a")), bearer(make_key(engine, "b"))
    listed = {
        "data_roots": [str(data / "b"), str(data / "elsewhere"), str(tmp_path / "outside")],
        "origins": ["https://b.example", "https://never-allowed.example"],
        "buckets": ["gs://pets-b", "never-allowed"],
    }
    with session_scope(engine) as session:
        session.get_one(Project, "b").sources = listed
    own = [(data / "b").as_uri(), (data / "b/pets").as_uri(), "https://b.example/x.tar", "gs://pets-b/train/"]
    inside = (data / "b").as_uri()
    foreign = [
        data.as_uri(),
        (data / "a").as_uri(),
        f"{inside}/link",
        f"{inside}/../a",
        f"{inside}/%2e%2e/a",
        f"{inside}/pets/key::{(data / 'a').as_uri()}",
        f"zip://x.zip::{(data / 'a').as_uri()}",
        (data / "elsewhere").as_uri(),
        (tmp_path / "outside").as_uri(),
        "https://a.example/x.tar",
        "https://never-allowed.example/x.tar",
        "s3://pets-a/train/",
        "s3://pets-b/train/",
        "s3://never-allowed/train/",
    ]
    with TestClient(create_app(sqlite_settings.model_copy(update=allowed))) as client:
        for uri in own:
            body = {"student": "resnet18", "method": "ce", "dataset": uri}
            assert client.post("/jobs", json=body, headers=of_b).status_code == 201, uri
        for uri in foreign:
            body = {"student": "resnet18", "method": "ce", "dataset": uri}
            for path in ("/jobs", "/jobs/validate"):
                problem = client.post(path, json=body, headers=of_b).json()
                assert (problem["code"], problem["errors"][0]["pointer"]) == ("uri_not_allowed", "/dataset/uri"), uri
        assert "ask an administrator to add this one with `ttm projects restrict`" in problem["detail"]
        named = {"name": "pets", "dataset": (data / "a").as_uri()}
        assert client.post("/datasets", json=named, headers=of_b).status_code == 422
        study = {"teacher": "timm:resnet50.a1_in1k", "dataset": (data / "a").as_uri(), "limits": {"retention": 0.9}}
        assert client.post("/studies", json=study, headers=of_b).status_code == 422
        for uri in (data.as_uri(), "s3://pets-b/train/", "https://b.example/x.tar"):
            body = {"student": "resnet18", "method": "ce", "dataset": uri}
            assert client.post("/jobs", json=body, headers=of_a).status_code == 201, "project a is not restricted"
    engine.dispose()
