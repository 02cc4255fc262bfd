"""Which bytes of which artifact to send."""

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from sqlalchemy.orm import Session
from starlette.datastructures import Headers
from starlette.responses import Response, StreamingResponse

from api.artifacts.schemas import ArtifactList
from api.jobs.views import LOG
from api.jobs.views import artifact as artifact_view
from api.ranges import Part, Unchanged, Whole, select
from ttm_jobs.errors import JobNotFinished
from ttm_jobs.repositories import artifacts, jobs
from ttm_jobs.repositories.artifacts import STUDENT
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


def of_job(session: Session, job_id: str) -> ArtifactList:
    """What a job has made so far. JobNotFound."""
    jobs.get(session, job_id)
    return ArtifactList(items=[artifact_view(row) for row in artifacts.of_job(session, job_id)])


def find(session: Session, job_id: str, name: str) -> Download:
    """An artifact by its name. JobNotFound, ArtifactNotFound."""
    jobs.get(session, job_id)
    row = artifacts.get(session, job_id, name)
    return Download(row.key, row.size, row.sha256, row.media_type, filename=row.name)


def student(session: Session, job_id: str) -> Download:
    """The trained student, named after its architecture and job. JobNotFound, JobNotFinished."""
    job = jobs.get(session, job_id)
    if job.state is not JobState.SUCCEEDED:
        raise JobNotFinished(f"The job is {job.state}; a student exists once it has succeeded.")
    row = artifacts.get(session, job_id, STUDENT)
    architecture = re.sub(r"[^A-Za-z0-9._-]+", "-", job.student)
    return Download(row.key, row.size, row.sha256, row.media_type, filename=f"{architecture}-{job.id}.safetensors")


def log(session: Session, job_id: str) -> Download:
    """The trainer's output. JobNotFound, ArtifactNotFound while there is none."""
    return replace(find(session, job_id, LOG), filename=None)


def send(download: Download, storage: Storage, method: str, request_headers: Headers) -> Response:
    """The answer to GET or HEAD: 200, 206 or 304. RangeNotSatisfiable; ObjectNotFound if the storage lost the file."""
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
    headers["Content-Length"] = str(end - start)
    chunks: Iterator[bytes] = storage.open(download.key, start, end)
    if method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=download.media_type)
    return StreamingResponse(chunks, status, headers, media_type=download.media_type)
