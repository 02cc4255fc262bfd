"""Downloads of artifacts."""

import base64
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

from sqlalchemy.orm import Session
from starlette.datastructures import Headers
from starlette.responses import Response, StreamingResponse

from api.artifacts.archive import Member, zip_stream
from api.artifacts.schemas import LOG, ArtifactList, LinkOut, artifact_view
from api.auth.credentials import links
from api.http.conditional_requests import FullContent, PartialContent, Unchanged, select
from ttm_jobs.database.tenancy import project_of
from ttm_jobs.errors import JobNotFinished
from ttm_jobs.models import Artifact, Job
from ttm_jobs.repositories.access import server_secrets
from ttm_jobs.repositories.jobs import crud
from ttm_jobs.repositories.run_data import artifacts
from ttm_jobs.repositories.run_data.artifacts import STUDENT
from ttm_jobs.states import JobState
from ttm_jobs.storage import Storage


@dataclass(frozen=True)
class Download:
    """An artifact and the file name for a browser. Without a file name the browser displays it."""

    key: str
    size: int
    sha256: str
    media_type: str
    filename: str | None


@dataclass(frozen=True)
class AllFiles:
    """All artifacts of a job and the file name of their archive."""

    rows: Sequence[Artifact]
    filename: str


def of_job(session: Session, job_id: str) -> ArtifactList:
    """The artifacts of a job so far. Raises JobNotFound."""
    crud.get(session, job_id)
    return ArtifactList(items=[artifact_view(row) for row in artifacts.of_job(session, job_id)])


def find(session: Session, job_id: str, name: str) -> Download:
    """An artifact by its name. Raises JobNotFound and ArtifactNotFound."""
    crud.get(session, job_id)
    row = artifacts.get(session, job_id, name)
    return Download(row.key, row.size, row.sha256, row.media_type, filename=row.name)


def link(session: Session, job_id: str, name: str, *, seconds: int) -> LinkOut:
    """A signed path of an artifact. Raises JobNotFound and ArtifactNotFound."""
    crud.get(session, job_id)
    row = artifacts.get(session, job_id, name)
    expires = int(time.time()) + seconds
    secret = server_secrets.ensure(session, links.SECRET)
    href = links.sign(secret, f"/jobs/{job_id}/artifacts/{row.name}", project_of(session), expires=expires)
    return LinkOut(href=href, expires_at=datetime.fromtimestamp(expires, UTC))


def student(session: Session, job_id: str) -> Download:
    """The trained student, named after its architecture and job. Raises JobNotFound and JobNotFinished."""
    job = _succeeded(session, job_id)
    row = artifacts.get(session, job_id, STUDENT)
    return Download(row.key, row.size, row.sha256, row.media_type, filename=f"{_file_stem(job)}.safetensors")


def report(session: Session, job_id: str, name: str) -> Download:
    """The report as JSON or HTML, for display. Raises JobNotFound, JobNotFinished and ArtifactNotFound."""
    _succeeded(session, job_id)
    return replace(find(session, job_id, name), filename=None)


def all_files(session: Session, job_id: str) -> AllFiles:
    """All artifacts. Raises JobNotFound and JobNotFinished."""
    job = _succeeded(session, job_id)
    return AllFiles(artifacts.of_job(session, job_id), filename=f"{_file_stem(job)}.zip")


def _succeeded(session: Session, job_id: str) -> Job:
    job = crud.get(session, job_id)
    if job.state is not JobState.SUCCEEDED:
        raise JobNotFinished(f"The job is {job.state}. The student is available once the job has succeeded.")
    return job


def _file_stem(job: Job) -> str:
    architecture = re.sub(r"[^A-Za-z0-9._-]+", "-", job.student)
    return f"{architecture}-{job.id}"


def log(session: Session, job_id: str) -> Download:
    """The trainer's output. Raises JobNotFound, and ArtifactNotFound while there is no output."""
    return replace(find(session, job_id, LOG), filename=None)


def send(
    download: Download, storage: Storage, method: str, request_headers: Headers, *, direct: bool = False
) -> Response:
    """The response to GET or HEAD: 200, 206, 304, or 307 if `direct` and the storage supports signed URLs.

    Raises RangeNotSatisfiable, and ObjectNotFound if the file is missing in the storage.
    """
    etag = f'"{download.sha256}"'
    headers = {
        "ETag": etag,
        "Accept-Ranges": "bytes",
        "Repr-Digest": f"sha-256=:{base64.b64encode(bytes.fromhex(download.sha256)).decode()}:",
    }
    if download.filename is not None:
        headers["Content-Disposition"] = f'attachment; filename="{download.filename}"'
    # Ranges are defined for GET only (RFC 9110, section 14.2).
    match select(request_headers, etag=etag, size=download.size, ranges=method == "GET"):
        case Unchanged():
            return Response(status_code=304, headers=headers)
        case PartialContent(start=start, end=end):
            status = 206
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{download.size}"
        case FullContent():
            status, start, end = 200, 0, download.size
    # The object store uses a different ETag, so it cannot evaluate If-Range.
    if direct and method == "GET" and "if-range" not in request_headers:
        storage.size(download.key)
        if (url := storage.url(download.key)) is not None:
            return Response(status_code=307, headers={"Location": url, "Cache-Control": "no-store"})
    headers["Content-Length"] = str(end - start)
    chunks: Iterator[bytes] = storage.open(download.key, start, end)
    if method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=download.media_type)
    return StreamingResponse(chunks, status, headers, media_type=download.media_type)


def send_page(download: Download, storage: Storage, method: str, request_headers: Headers) -> Response:
    """The HTML report. It is written by the trainer, which reads untrusted files, so scripts, resources and links are
    blocked.
    """
    response = send(download, storage, method, request_headers)
    # Inline styles are allowed: the page's own policy restricts them by hash, which differs between versions.
    response.headers["Content-Security-Policy"] = (
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'; "
        "sandbox"
    )
    return response


def send_zip(files: AllFiles, storage: Storage, method: str) -> Response:
    """All files as one streamed zip. Raises ObjectNotFound before the response starts if a file is missing."""
    for row in files.rows:
        storage.size(row.key)
    headers = {"Content-Disposition": f'attachment; filename="{files.filename}"'}
    if method == "HEAD":
        return Response(headers=headers, media_type="application/octet-stream")
    members = [Member(row.name, row.size, row.created_at, partial(storage.open, row.key)) for row in files.rows]
    return StreamingResponse(zip_stream(members), headers=headers, media_type="application/octet-stream")
