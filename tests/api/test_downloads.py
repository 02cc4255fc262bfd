"""Downloads: validators and ranges as in RFC 9110."""

from typing import Any

import httpx2
import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine
from starlette.datastructures import Headers

from api.http.conditional_requests import FullContent, PartialContent, RangeNotSatisfiable, select
from tests.api.conftest import ON_SQLITE
from tests.api.test_bad_requests import assert_problem
from tests.support.runs import STUDENT_BYTES, STUDENT_SHA256, claim, succeed
from ttm_jobs.settings import Settings
from ttm_jobs.storage import Storage

ETAG = f'"{STUDENT_SHA256}"'
SIZE = len(STUDENT_BYTES)


@pytest.fixture
def student(client: TestClient, engine: Engine, storage: Storage, settings: Settings) -> str:
    """Path of a finished job's student."""
    body = {"student": "resnet18", "dataset": settings.data_roots[0].as_uri(), "method": "ce"}
    job_id = client.post("/jobs", json=body).json()["id"]
    succeed(engine, storage, claim(engine, job_id))
    return f"/jobs/{job_id}/student"


def test_full_download_has_validators(client: TestClient, student: str) -> None:
    answer = client.get(student)
    assert answer.status_code == 200
    assert answer.content == STUDENT_BYTES
    assert answer.headers["etag"] == ETAG
    assert answer.headers["content-length"] == str(SIZE)
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["content-disposition"].startswith('attachment; filename="resnet18-')
    assert answer.headers["repr-digest"].startswith("sha-256=:")


def test_head_has_the_headers_of_get(client: TestClient, student: str) -> None:
    get, head = client.get(student), client.head(student)
    assert head.status_code == 200
    assert head.content == b""
    differing = {"x-request-id"}
    assert {k: v for k, v in head.headers.items() if k not in differing} == {
        k: v for k, v in get.headers.items() if k not in differing
    }


@pytest.mark.parametrize("value", ["bytes=0-0", f"bytes={SIZE}-"])
@ON_SQLITE
def test_head_ignores_ranges(client: TestClient, student: str, value: str) -> None:
    head = client.head(student, headers={"range": value})
    assert (head.status_code, head.headers["content-length"]) == (200, str(SIZE))
    assert "content-range" not in head.headers


@pytest.mark.parametrize(
    ("value", "start", "end"),
    [("bytes=0-0", 0, 1), ("bytes=5-", 5, SIZE), ("bytes=-7", SIZE - 7, SIZE), ("bytes=10-99999999", 10, SIZE)],
)
@ON_SQLITE
def test_range_request_returns_the_range(client: TestClient, student: str, value: str, start: int, end: int) -> None:
    answer = client.get(student, headers={"range": value})
    assert answer.status_code == 206
    assert answer.content == STUDENT_BYTES[start:end]
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{SIZE}"
    assert answer.headers["content-length"] == str(end - start)
    assert answer.headers["etag"] == ETAG


@pytest.mark.parametrize("value", ["bytes=5-2", "bytes=0-1,3-4", "lines=0-1", "bytes=-", "bytes=a-b", "bytes", ""])
@ON_SQLITE
def test_invalid_range_is_ignored(client: TestClient, student: str, value: str) -> None:
    answer = client.get(student, headers={"range": value})
    assert (answer.status_code, answer.content) == (200, STUDENT_BYTES)


@pytest.mark.parametrize("value", [f"bytes={SIZE}-", f"bytes={SIZE + 5}-{SIZE + 9}", "bytes=-0"])
@ON_SQLITE
def test_range_past_the_end_is_refused(client: TestClient, student: str, value: str) -> None:
    answer = client.get(student, headers={"range": value})
    assert_problem(answer, 416, "range_not_satisfiable")
    assert answer.headers["content-range"] == f"bytes */{SIZE}"


def test_if_range_resumes_only_the_same_file(client: TestClient, student: str) -> None:
    resumed = client.get(student, headers={"range": "bytes=9-", "if-range": ETAG})
    changed = client.get(student, headers={"range": "bytes=9-", "if-range": '"other"'})
    assert (resumed.status_code, resumed.content) == (206, STUDENT_BYTES[9:])
    assert (changed.status_code, changed.content) == (200, STUDENT_BYTES)


@pytest.mark.parametrize(
    ("condition", "status"), [(ETAG, 304), (f'"a", W/{ETAG}', 304), ("*", 304), ('"other"', 200), ("", 200)]
)
@ON_SQLITE
def test_matching_etag_is_not_modified(client: TestClient, student: str, condition: str, status: int) -> None:
    answer = client.get(student, headers={"if-none-match": condition})
    assert answer.status_code == status
    assert answer.headers["etag"] == ETAG


def test_student_requires_a_finished_job(client: TestClient, engine: Engine, settings: Settings) -> None:
    body = {"student": "resnet18", "dataset": settings.data_roots[0].as_uri(), "method": "ce"}
    job_id = client.post("/jobs", json=body).json()["id"]
    assert_problem(client.get(f"/jobs/{job_id}/student"), 409, "job_not_finished")
    assert_problem(client.get(f"/jobs/{job_id}/artifacts/student.safetensors"), 404, "artifact_not_found")
    assert_problem(client.get(f"/jobs/{job_id}/log"), 404, "artifact_not_found")
    assert client.head(f"/jobs/{job_id}/student").status_code == 409


def test_missing_object_is_a_problem(client: TestClient, student: str, storage: Storage) -> None:
    for key in list(storage.list("jobs")):
        storage.delete(key)
    assert_problem(client.get(student), 404, "object_not_found")


def test_lengths_match_over_a_socket(live: str, client: TestClient, student: str) -> None:
    with httpx2.Client(base_url=live) as http:
        whole, part, head = http.get(student), http.get(student, headers={"range": "bytes=-9"}), http.head(student)
    assert (whole.content, part.content, head.headers["content-length"]) == (
        STUDENT_BYTES,
        STUDENT_BYTES[-9:],
        str(SIZE),
    )


@given(st.text(max_size=30) | st.from_regex(r"bytes=\d{0,20}-\d{0,20}", fullmatch=True), st.integers(0, 2**40))
def test_selected_range_is_inside_the_file(value: str, size: int) -> None:
    header: Any = Headers(raw=[(b"range", value.encode("utf-8", "replace"))])
    try:
        selection = select(header, etag='"x"', size=size)
    except RangeNotSatisfiable:
        return
    assert isinstance(selection, FullContent) or (
        isinstance(selection, PartialContent) and 0 <= selection.start < selection.end <= size
    )
