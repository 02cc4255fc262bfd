# From asynchronous/push.py by `python -m ttm_client.codegen.make_synchronous`: edit that.
"""Publishes a job's student on the Hugging Face Hub."""

import tempfile
from pathlib import Path

from ttm_client.errors import HubRefused
from ttm_client.hub.files import STUDENT, needed, repository_files
from ttm_client.hub.publish import Destination, publish
from ttm_client.models.jobs import Job
from ttm_client.protocol import Advance
from ttm_client.synchronous.download import download
from ttm_client.synchronous.transport import Transport


def push(
    transport: Transport, job: Job, to: Destination, *, message: str | None, token: str, progress: Advance | None
) -> str:
    """Downloads the job's files and commits them. Returns the URL of the commit."""
    artifacts = needed(job.artifacts)
    if STUDENT not in {artifact.name for artifact in artifacts}:
        raise HubRefused(f"Job {job.id} has no student to upload: it must have succeeded.")
    with tempfile.TemporaryDirectory() as folder:
        for each in artifacts:
            path = Path(folder) / each.name
            download(transport, each.href, path, sha256=each.sha256, size=each.size, progress=progress)
        files = repository_files(Path(folder), to.repository)
        return publish(files, to, message=message or f"Student of job {job.id}", token=token)
