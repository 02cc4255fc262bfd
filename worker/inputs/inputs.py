"""From the addresses in a spec to paths that a trainer reads."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import TypedDict, assert_never

from sqlalchemy import Engine

from ttm_core.data.cache import DataCache
from ttm_core.spec.job import DistillSpec
from ttm_jobs.database.engine import read_scope
from ttm_jobs.errors import FetchStopped, JobNotFinished, UploadNotComplete
from ttm_jobs.models import UploadState
from ttm_jobs.repositories import uploads
from ttm_jobs.repositories.jobs import crud
from ttm_jobs.repositories.run_data import artifacts
from ttm_jobs.settings import Settings
from ttm_jobs.states import JobState
from ttm_jobs.storage import Storage
from ttm_jobs.uris import (
    FileUri,
    HttpUri,
    JobUri,
    S3Uri,
    TimmUri,
    UploadUri,
    check_bucket,
    check_origin,
    local_path,
    parse_uri,
)
from worker.files import write_whole
from worker.inputs.http import HttpFetcher, HttpLimits
from worker.inputs.s3 import S3Fetcher
from worker.retry import retry_storage


class Paths(TypedDict):
    """Absolute paths, as a trainer reads them."""

    dataset: str
    teachers: list[str | None]  # in the order of the spec; None for one that the trainer fetches itself
    student: str | None
    data_cache: str  # where the trainer keeps what it unpacks
    data_cache_max_bytes: int  # at most


class Inputs:
    """Fetches what lies elsewhere into `work_dir/data`, once for all jobs and workers that share the directory.

    Runs one job at a time: what it resolved for one stays in the cache until it resolves for the next.
    """

    def __init__(self, engine: Engine, storage: Storage, settings: Settings) -> None:
        self._engine = engine
        self._storage = storage
        self._settings = settings
        self._root = settings.work_dir.absolute() / "data"
        self._cache = DataCache(self._root, settings.data_cache_max_bytes)

    def resolve(self, spec: DistillSpec, should_stop: Callable[[], bool] = lambda: False) -> Paths:
        """Where the spec's addresses now lie. `should_stop` is asked between chunks.

        A ServiceError of status 4xx if an address cannot be read by this service, FetchStopped if it should stop.
        """

        def go_on() -> None:
            if should_stop():
                raise FetchStopped

        self._cache.close()
        self._cache.make_room()
        dataset = self._path(spec.dataset.uri, go_on)
        assert dataset is not None, "the trainer fetches teachers only"
        return {
            "dataset": dataset,
            "teachers": [self._path(teacher.checkpoint, go_on) for teacher in spec.all_teachers],
            "student": self._path(spec.student.checkpoint, go_on) if spec.student.checkpoint else None,
            "data_cache": str(self._root),
            "data_cache_max_bytes": self._settings.data_cache_max_bytes,
        }

    def _path(self, uri: str, go_on: Callable[[], None]) -> str | None:
        parsed = parse_uri(uri)
        match parsed:
            case UploadUri():
                with read_scope(self._engine) as session:
                    upload = uploads.get(session, parsed.upload_id)
                if upload.state is not UploadState.COMPLETE or upload.sha256 is None:
                    raise UploadNotComplete
                path = self._stored(upload.key, upload.sha256, upload.filename or "upload", go_on)
            case JobUri():
                with read_scope(self._engine) as session:
                    job = crud.get(session, parsed.job_id)
                    if job.state is not JobState.SUCCEEDED:
                        raise JobNotFinished(f"Job {job.id} has not succeeded, so it has no student.")
                    student = artifacts.get(session, job.id, artifacts.STUDENT)
                path = self._stored(student.key, student.sha256, student.name, go_on)
            case FileUri():
                path = local_path(parsed, self._settings.data_roots)
            case HttpUri():
                path = self._fetched(parsed, go_on)
            case S3Uri():
                path = self._copied(parsed, go_on)
            case TimmUri():
                return None
            case _:
                assert_never(parsed)
        return str(path)

    def _stored(self, key: str, sha256: str, name: str, go_on: Callable[[], None]) -> Path:
        def chunks() -> Iterator[bytes]:
            for chunk in self._storage.open(key):
                go_on()
                yield chunk

        plain = _plain(name)

        def make(folder: Path) -> None:
            retry_storage(
                lambda: write_whole(folder / plain, chunks(), sha256),
                seconds=self._settings.storage_retry_seconds,
                check=go_on,
            )

        # A file's suffix says its format, so that one content under two names is two files.
        return self._folder(f"sha256-{sha256}-{plain}", make, go_on) / plain

    def _fetched(self, uri: HttpUri, go_on: Callable[[], None]) -> Path:
        settings = self._settings
        check_origin(uri, settings.allowed_origins)
        limits = HttpLimits(
            settings.allowed_origins, settings.private_hosts, settings.fetch_max_bytes, settings.fetch_timeout_seconds
        )
        fetcher = HttpFetcher(limits, go_on)
        version = fetcher.version(uri)
        plain = _plain(uri.target.partition("?")[0])
        name = f"{version.name}-{plain}"
        return self._folder(name, lambda folder: fetcher.fetch(uri, version, folder / plain), go_on) / plain

    def _copied(self, uri: S3Uri, go_on: Callable[[], None]) -> Path:
        settings = self._settings
        check_bucket(uri, settings.allowed_buckets)
        fetcher = S3Fetcher(uri, settings.s3, max_bytes=settings.fetch_max_bytes, go_on=go_on)
        plain = _plain(uri.key) if not uri.is_prefix else "files"
        return self._folder(fetcher.name, lambda folder: fetcher.fetch(folder / plain), go_on) / plain

    def _folder(self, name: str, make: Callable[[Path], None], go_on: Callable[[], None]) -> Path:
        return self._cache.folder(name, make, while_waiting=go_on)


def _plain(name: str) -> str:
    """A file name that keeps its suffix, by which the engine knows a format, and nothing that a path could mean."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", PurePosixPath(name).name)[-100:].lstrip(".")
    return plain or "file"
