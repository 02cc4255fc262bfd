"""Validation of URIs in specs, registry entries and requests."""

from collections.abc import Iterator
from typing import assert_never

from sqlalchemy.orm import Session

from api.http.errors import InputNotFound
from api.http.problems import FieldError
from ttm_core.spec import catalogue
from ttm_core.spec.dataset import DatasetSpec
from ttm_jobs.database.tenancy import project_of
from ttm_jobs.errors import JobNotFinished, NotFound, ServiceError, UploadNotComplete, UriNotAllowed
from ttm_jobs.models import UploadState
from ttm_jobs.repositories import uploads
from ttm_jobs.repositories.access import projects
from ttm_jobs.repositories.jobs import crud
from ttm_jobs.settings import Settings
from ttm_jobs.sources import AllowedSources
from ttm_jobs.states import JobState
from ttm_jobs.uris import (
    BucketUri,
    FileUri,
    HfDatasetUri,
    HfUri,
    HttpUri,
    JobUri,
    TimmUri,
    UploadUri,
    Uri,
    parse_uri,
)

Fault = tuple[ServiceError, FieldError]
_FILE_URIS = (UploadUri, FileUri, HttpUri, BucketUri)
DATASET_URIS = (*_FILE_URIS, HfDatasetUri)
MODEL_URIS = (*_FILE_URIS, JobUri, TimmUri, HfUri)


def check_uri(
    session: Session, settings: Settings, uri: str, pointer: str, kinds: tuple[type[Uri], ...]
) -> Iterator[Fault]:
    """The error of a URI at a JSON pointer, if any. `kinds` are the URIs that the field accepts."""
    try:
        parsed = parse_uri(uri)
        if not isinstance(parsed, kinds):
            refused = "hf://datasets/" if isinstance(parsed, HfDatasetUri) else "job:, timm: or hf:OWNER/REPO"
            raise UriNotAllowed(f"This field does not accept {refused} URIs.")
        is_folder = _check_target(session, settings, parsed)
        if is_folder and kinds is MODEL_URIS:
            raise UriNotAllowed("The URI is that of a folder. A checkpoint is one file.")
    except ServiceError as error:
        # 404 refers to the request's path, so a missing target of a URI in the body is 422.
        fault = InputNotFound(error.message) if isinstance(error, NotFound) else error
        yield fault, FieldError(pointer=pointer, detail=error.message)


def dataset_faults(session: Session, settings: Settings, dataset: DatasetSpec) -> Iterator[Fault]:
    """The errors of a dataset's URIs."""
    yield from check_uri(session, settings, dataset.uri, "/dataset/uri", DATASET_URIS)
    for index, uri in enumerate(dataset.unlabelled):
        yield from check_uri(session, settings, uri, f"/dataset/unlabelled/{index}", DATASET_URIS)


def _check_target(session: Session, settings: Settings, uri: Uri) -> bool:
    """Raises ServiceError if the target cannot be used. Returns whether it is a folder."""
    match uri:
        case UploadUri(upload_id=upload_id):
            if uploads.get(session, upload_id).state is not UploadState.COMPLETE:
                raise UploadNotComplete
        case JobUri(job_id=job_id):
            if crud.get(session, job_id).state is not JobState.SUCCEEDED:
                raise JobNotFinished("The job has not succeeded, so it has no student.")
        case FileUri():
            return _allowed(session, settings).resolve(uri).is_dir()
        case BucketUri():
            _allowed(session, settings).check(uri)
            return uri.is_prefix
        case HttpUri():
            _allowed(session, settings).check(uri)
        case TimmUri(name=name):
            _check_published(name)
        case HfUri() | HfDatasetUri():
            pass  # the worker, which reaches the Hub, checks whether the repository exists
        case _:
            assert_never(uri)
    return False


def _allowed(session: Session, settings: Settings) -> AllowedSources:
    return projects.allowed_sources(session, project_of(session), settings)


def _check_published(name: str) -> None:
    """Raises UriNotAllowed unless timm has published weights with this name."""
    try:
        architecture = catalogue.find(name)
    except catalogue.UnknownArchitecture as error:
        near = f" Did you mean {' or '.join(f'timm:{each}' for each in error.nearest)}?" if error.nearest else ""
        raise UriNotAllowed(f"timm has no published weights named {name!r}.{near}") from None
    if not architecture.pretrained:
        raise UriNotAllowed(f"timm has no published weights of {name!r}.")
