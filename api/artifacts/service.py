"""Which bytes of which artifact to send."""

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
from api.artifacts.schemas import ArtifactList, LinkOut
from api.auth import links
from api.http.ranges import Part, Unchanged, Whole, select
from api.jobs.views import LOG
from api.jobs.views import artifact as artifact_view
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
    """An artifact and the name under which a browser saves it; one without a name is shown instead."""

    key: str
    size: int
    sha256: str
    media_type: str
    filename: str | None


@dataclass(frozen=True)
class AllFiles:
    """The artifacts of a job, and the name under which a browser saves them together."""

    rows: Sequence[Artifact]
    filename: str


def of_job(session: Session, job_id: str) -> ArtifactList:
    """What a job has made so far. JobNotFound."""
    crud.get(session, job_id)
    return ArtifactList(items=[artifact_view(row) for row in artifacts.of_job(session, job_id)])


def find(session: Session, job_id: str, name: str) -> Download:
    """An artifact by its name. JobNotFound, ArtifactNotFound."""
    crud.get(session, job_id)
    row = artifacts.get(session, job_id, name)
    return Download(row.key, row.size, row.sha256, row.media_type, filename=row.name)


def link(session: Session, job_id: str, name: str, *, seconds: int) -> LinkOut:
    """A signed path of an artifact. JobNotFound, ArtifactNotFound."""
    crud.get(session, job_id)
    row = artifacts.get(session, job_id, name)
    expires = int(time.time()) + seconds
    secret = server_secrets.ensure(session, links.SECRET)
    href = links.sign(secret, f"/jobs/{job_id}/artifacts/{row.name}", project_of(session), expires=expires)
    return LinkOut(href=href, expires_at=datetime.fromtimestamp(expires, UTC))


def student(session: Session, job_id: str) -> Download:
    """The trained student, named after its architecture and job. JobNotFound, JobNotFinished."""
    job = _succeeded(session, job_id)
    row = artifacts.get(session, job_id, STUDENT)
    return Download(row.key, row.size, row.sha256, row.media_type, filename=f"{_file_stem(job)}.safetensors")


def report(session: Session, job_id: str, name: str) -> Download:
    """The report in one of its two forms, to be shown. JobNotFound, JobNotFinished, ArtifactNotFound."""
    _succeeded(session, job_id)
    return replace(find(session, job_id, name), filename=None)


def all_files(session: Session, job_id: str) -> AllFiles:
    """Every artifact. JobNotFound, JobNotFinished."""
    job = _succeeded(session, job_id)
    return AllFiles(artifacts.of_job(session, job_id), filename=f"{_file_stem(job)}.zip")


def _succeeded(session: Session, job_id: str) -> Job:
    job = crud.get(session, job_id)
    if job.state is not JobState.SUCCEEDED:
        raise JobNotFinished(f"The job is {job.state}; a student exists once it has succeeded.")
    return job


def _file_stem(job: Job) -> str:
    architecture = re.sub(r"[^A-Za-z0-9._-]+", "-", job.student)
    return f"{architecture}-{job.id}"


def log(session: Session, job_id: str) -> Download:
    """The trainer's output. JobNotFound, ArtifactNotFound while there is none."""
    return replace(find(session, job_id, LOG), filename=None)


def send(
    download: Download, storage: Storage, method: str, request_headers: Headers, *, direct: bool = False
) -> Response:
    """The answer to GET or HEAD: 200, 206, 304, or 307 where `direct` and the storage has an address for the file.
    RangeNotSatisfiable; ObjectNotFound if the storage lost the file.
    """
    etag = f'"{download.sha256}"'
    headers = {
        "ETag": etag,
        "Accept-Ranges": "bytes",
        "Repr-Digest": f"sha-256=:{base64.b64encode(bytes.fromhex(download.sha256)).decode()}:",
    }
    if download.filename is not None:
        headers["Content-Disposition"] = f'attachment; filename="{download.filename}"'
    match select(request_headers, etag=etag, size=download.size):
        case Unchanged():
            return Response(status_code=304, headers=headers)
        case Part(start=start, end=end):
            status = 206
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{download.size}"
        case Whole():
            status, start, end = 200, 0, download.size
    # The store knows the file by another tag than If-Range names.
    if direct and method == "GET" and "if-range" not in request_headers:
        storage.size(download.key)
        if (address := storage.url(download.key)) is not None:
            return Response(status_code=307, headers={"Location": address, "Cache-Control": "no-store"})
    headers["Content-Length"] = str(end - start)
    chunks: Iterator[bytes] = storage.open(download.key, start, end)
    if method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=download.media_type)
    return StreamingResponse(chunks, status, headers, media_type=download.media_type)


def send_page(download: Download, storage: Storage, method: str, request_headers: Headers) -> Response:
    """The report's page, by a process that reads strangers' files: nothing in it runs, loads or leads elsewhere."""
    answer = send(download, storage, method, request_headers)
    # The page's own policy names its style sheet by hash; that of an earlier release has another.
    answer.headers["Content-Security-Policy"] = (
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'; "
        "sandbox"
    )
    return answer


def send_zip(files: AllFiles, storage: Storage, method: str) -> Response:
    """All files as one zip, made while it is sent. ObjectNotFound at once if the storage lost one."""
    for row in files.rows:
        storage.size(row.key)
    headers = {"Content-Disposition": f'attachment; filename="{files.filename}"'}
    if method == "HEAD":
        return Response(headers=headers, media_type="application/zip")
    members = [Member(row.name, row.size, row.created_at, partial(storage.open, row.key)) for row in files.rows]
    return StreamingResponse(zip_stream(members), headers=headers, media_type="application/zip")
