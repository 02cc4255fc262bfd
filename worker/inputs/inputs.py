"""Resolves the URIs in a spec to paths that a trainer reads."""

import re
from collections.abc import Callable, Iterator, Sequence
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
from ttm_jobs.sources import AllowedSources
from ttm_jobs.states import JobState
from ttm_jobs.storage import Storage
from ttm_jobs.uris import (
    BucketUri,
    FileUri,
    HfDatasetUri,
    HfUri,
    HttpUri,
    JobUri,
    TimmUri,
    UploadUri,
    parse_uri,
)
from worker.files import write_atomically
from worker.inputs.bucket import BucketFetcher
from worker.inputs.http import HttpFetcher, HttpLimits
from worker.inputs.hub import HubFetcher
from worker.retry import retry_storage


class Paths(TypedDict):
    """Absolute paths of a trainer's inputs."""

    dataset: str
    unlabelled: list[str]  # in the order of the spec
    teachers: list[str | None]  # in the order of the spec; None for weights that the trainer downloads
    student: str | None  # None also for weights that the trainer downloads
    needs_network: bool  # whether the trainer downloads any of them
    data_cache: str  # folder for unpacked datasets
    data_cache_max_bytes: int  # its maximum size


class Inputs:
    """Downloads remote inputs to `work_dir/data`, a cache shared by all jobs and workers with this directory.

    Handles one job at a time: its inputs stay in the cache until `release` or the next call of `resolve`.
    """

    def __init__(self, engine: Engine, storage: Storage, settings: Settings) -> None:
        self._engine = engine
        self._storage = storage
        self._settings = settings
        self._root = settings.work_dir.absolute() / "data"
        self._cache = DataCache(self._root, settings.data_cache_max_bytes)

    def resolve(
        self, spec: DistillSpec, allowed: AllowedSources, should_stop: Callable[[], bool] = lambda: False
    ) -> Paths:
        """Returns the local paths of a spec's URIs, which refer to `allowed` sources. Calls `should_stop` between
        chunks.

        Raises a ServiceError with status 4xx for an invalid URI, FetchStopped if `should_stop` returns true.
        """

        def check() -> None:
            if should_stop():
                raise FetchStopped

        self.release()
        self._cache.make_room()
        dataset = self._data_path(spec.dataset.uri, allowed, check)
        unlabelled = [self._data_path(uri, allowed, check) for uri in spec.dataset.unlabelled]
        teachers = [self._path(teacher.checkpoint, allowed, check) for teacher in spec.all_teachers]
        student = self._path(spec.student.checkpoint, allowed, check) if spec.student.checkpoint else None
        return {
            "dataset": dataset,
            "unlabelled": unlabelled,
            "teachers": teachers,
            "student": student,
            "needs_network": None in teachers or (spec.student.checkpoint is not None and student is None),
            "data_cache": str(self._root),
            "data_cache_max_bytes": self._settings.data_cache_max_bytes,
        }

    def release(self) -> None:
        """Allows other workers to evict the inputs of the last job."""
        self._cache.close()

    def _data_path(self, uri: str, allowed: AllowedSources, check: Callable[[], None]) -> str:
        path = self._path(uri, allowed, check)
        assert path is not None, "the trainer downloads only weights"
        return path

    def _path(self, uri: str, allowed: AllowedSources, check: Callable[[], None]) -> str | None:
        parsed = parse_uri(uri)
        match parsed:
            case UploadUri():
                with read_scope(self._engine) as session:
                    upload = uploads.get(session, parsed.upload_id)
                    keys = uploads.object_keys(session, upload)
                if upload.state is not UploadState.COMPLETE or upload.sha256 is None:
                    raise UploadNotComplete
                path = self._stored(keys, upload.sha256, upload.filename or "upload", check)
            case JobUri():
                with read_scope(self._engine) as session:
                    job = crud.get(session, parsed.job_id)
                    if job.state is not JobState.SUCCEEDED:
                        raise JobNotFinished(f"Job {job.id} has not succeeded, so it has no student.")
                    student = artifacts.get(session, job.id, artifacts.STUDENT)
                path = self._stored([student.key], student.sha256, student.name, check)
            case FileUri():
                path = allowed.resolve(parsed)
                allowed.check_links(path, check)
            case HttpUri():
                path = self._fetched(parsed, allowed, check)
            case BucketUri():
                allowed.check(parsed)
                path = self._copied(parsed, check)
            case HfDatasetUri():
                path = self._from_hub(parsed, check)
            case TimmUri() | HfUri():
                return None
            case _:
                assert_never(parsed)
        return str(path)

    def _stored(self, keys: Sequence[str], sha256: str, name: str, check: Callable[[], None]) -> Path:
        def chunks() -> Iterator[bytes]:
            for key in keys:
                for chunk in self._storage.open(key):
                    check()
                    yield chunk

        plain = _safe_name(name)

        def make(folder: Path) -> None:
            retry_storage(
                lambda: write_atomically(folder / plain, chunks(), sha256),
                seconds=self._settings.storage_retry_seconds,
                check=check,
            )

        # The name is part of the key, because the suffix determines the format.
        return self._folder(f"sha256-{sha256}-{plain}", make, check) / plain

    def _fetched(self, uri: HttpUri, allowed: AllowedSources, check: Callable[[], None]) -> Path:
        settings = self._settings
        allowed.check(uri)
        # Redirects stay among the project's hosts, too.
        limits = HttpLimits(
            allowed.origins, settings.private_hosts, settings.fetch_max_bytes, settings.fetch_timeout_seconds
        )
        fetcher = HttpFetcher(limits, check)
        version = fetcher.version(uri)
        plain = _safe_name(uri.target.partition("?")[0])
        name = f"{version.name}-{plain}"
        return self._folder(name, lambda folder: fetcher.fetch(uri, version, folder / plain), check) / plain

    def _copied(self, uri: BucketUri, check: Callable[[], None]) -> Path:
        settings = self._settings
        fetcher = BucketFetcher(uri, settings.s3, max_bytes=settings.fetch_max_bytes, check=check)
        plain = _safe_name(uri.key) if not uri.is_prefix else "files"
        return self._folder(fetcher.name, lambda folder: fetcher.fetch(folder / plain), check) / plain

    def _from_hub(self, uri: HfDatasetUri, check: Callable[[], None]) -> Path:
        settings = self._settings
        fetcher = HubFetcher(
            uri, max_bytes=settings.fetch_max_bytes, seconds=settings.fetch_timeout_seconds, check=check
        )
        plain = "files" if uri.is_folder else _safe_name(uri.path)
        return self._folder(fetcher.name, lambda folder: fetcher.fetch(folder / plain), check) / plain

    def _folder(self, name: str, make: Callable[[Path], None], check: Callable[[], None]) -> Path:
        return self._cache.folder(name, make, while_waiting=check)


def _safe_name(name: str) -> str:
    """A safe file name that keeps its suffix, from which the engine detects the format."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", PurePosixPath(name).name)[-100:].lstrip(".")
    return plain or "file"
