"""Turns the addresses in a spec into local paths."""

import re
from pathlib import Path, PurePosixPath
from typing import assert_never

from sqlalchemy import Engine

from ttm_core.spec import DistillSpec
from ttm_jobs.database import read_scope
from ttm_jobs.errors import JobNotFinished, UploadNotComplete
from ttm_jobs.models import UploadState
from ttm_jobs.repositories import artifacts, jobs, uploads
from ttm_jobs.settings import Settings
from ttm_jobs.states import JobState
from ttm_jobs.storage import Storage
from ttm_jobs.uris import FileUri, JobUri, UploadUri, local_path, parse_uri
from worker.files import write_whole


class Inputs:
    """Fetches what storage holds into `work_dir/inputs`, under its hash: the next job with the same teacher finds it
    there.
    """

    def __init__(self, engine: Engine, storage: Storage, settings: Settings) -> None:
        self._engine = engine
        self._storage = storage
        self._cache = settings.work_dir.absolute() / "inputs"
        self._roots = settings.data_roots

    def resolve(self, spec: DistillSpec) -> dict[str, str | None]:
        """Absolute paths of teacher, student weights and dataset, as the trainer reads them; None where the spec names
        none.

        A ServiceError of status 4xx if an address cannot be read by this service.
        """
        return {
            "teacher": self._path(spec.teacher.checkpoint) if spec.teacher else None,
            "student": self._path(spec.student.checkpoint) if spec.student.checkpoint else None,
            "dataset": self._path(spec.dataset.uri),
        }

    def _path(self, uri: str) -> str:
        parsed = parse_uri(uri)
        match parsed:
            case UploadUri():
                with read_scope(self._engine) as session:
                    upload = uploads.get(session, parsed.upload_id)
                if upload.state is not UploadState.COMPLETE or upload.size is None or upload.sha256 is None:
                    raise UploadNotComplete
                path = self._fetch(upload.key, upload.size, upload.sha256, upload.filename or "upload")
            case JobUri():
                with read_scope(self._engine) as session:
                    job = jobs.get(session, parsed.job_id)
                    if job.state is not JobState.SUCCEEDED:
                        raise JobNotFinished(f"Job {job.id} has not succeeded, so it has no student.")
                    student = artifacts.get(session, job.id, artifacts.STUDENT)
                path = self._fetch(student.key, student.size, student.sha256, student.name)
            case FileUri():
                path = local_path(parsed, self._roots)
            case _:
                assert_never(parsed)
        return str(path)

    def _fetch(self, key: str, size: int, sha256: str, name: str) -> Path:
        path = self._cache / sha256 / _plain(name)
        if not path.is_file() or path.stat().st_size != size:
            write_whole(path, self._storage.open(key), sha256)
        return path


def _plain(name: str) -> str:
    """A file name that keeps its suffix, by which the engine knows a format, and nothing that a path could mean."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", PurePosixPath(name).name)[-100:].lstrip(".")
    return plain or "file"
