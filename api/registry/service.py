"""Registered teachers and datasets: versions under a name."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from api.http.pagination import Page, decode_cursor, encode_cursor
from api.http.problems import FieldErrors
from api.registry.addresses import MODEL_URIS, check_uri, dataset_faults
from api.registry.references import format_reference
from api.registry.schemas import DatasetOut, DatasetPage, DatasetRequest, TeacherOut, TeacherPage, TeacherRequest
from ttm_core.spec.dataset import DatasetSpec
from ttm_core.spec.job import TeacherSpec
from ttm_jobs.errors import DatasetNotFound, NotFound, TeacherNotFound
from ttm_jobs.models import RegistryEntry
from ttm_jobs.models.registry_entry import Kind
from ttm_jobs.repositories import registry
from ttm_jobs.settings import Settings

Request = TeacherRequest | DatasetRequest
Entry = TeacherOut | DatasetOut
EntryPage = TeacherPage | DatasetPage


@dataclass(frozen=True)
class Registry:
    """What differs between the registry of teachers and that of datasets."""

    kind: Kind
    request: type[Request]
    entry: type[Entry]
    page: type[EntryPage]
    not_found: type[NotFound]


TEACHERS = Registry("teacher", TeacherRequest, TeacherOut, TeacherPage, TeacherNotFound)
DATASETS = Registry("dataset", DatasetRequest, DatasetOut, DatasetPage, DatasetNotFound)


def add(of: Registry, session: Session, settings: Settings, request: Request) -> Entry:
    """Adds a version. Raises FieldErrors if jobs cannot use its URIs."""
    part: TeacherSpec | DatasetSpec
    if isinstance(request, TeacherRequest):
        part = request.teacher
        faults = list(check_uri(session, settings, part.checkpoint, "/teacher/checkpoint", MODEL_URIS))
    else:
        part = request.dataset
        faults = list(dataset_faults(session, settings, part))
    if faults:
        raise FieldErrors(*faults)
    spec = part.model_dump(mode="json", exclude_unset=True)
    return _view(of, registry.add(session, of.kind, request.name, spec, description=request.description))


def get(of: Registry, session: Session, name: str, version: int | None = None) -> Entry:
    """A version, by default the latest. Raises TeacherNotFound or DatasetNotFound."""
    return _view(of, registry.get(session, of.kind, name, version))


def names(of: Registry, session: Session, *, limit: int, cursor: str | None = None, containing: str = "") -> EntryPage:
    """A page of the latest versions, by name, of the names that contain a text."""
    list_name = f"{of.kind}s"
    after = "" if cursor is None else decode_cursor(list_name, cursor, _name_at)
    found = registry.page(session, of.kind, limit=limit + 1, after=after, containing=containing)
    return _page(of, list_name, found, limit, lambda last: [last.name])


def versions(of: Registry, session: Session, name: str, *, limit: int, cursor: str | None) -> EntryPage:
    """A page of the versions of a name, newest first. Raises TeacherNotFound or DatasetNotFound."""
    list_name = f"{of.kind} versions"
    before = None if cursor is None else decode_cursor(list_name, cursor, _version_at)
    found = registry.versions(session, of.kind, name, limit=limit + 1, before=before)
    return _page(of, list_name, found, limit, lambda last: [last.version])


def _name_at(position: list[Any]) -> str:
    (name,) = position
    if not registry.is_name(name):
        raise ValueError
    return str(name)


def _version_at(position: list[Any]) -> int:
    (version,) = position
    if type(version) is not int or not 1 <= version < 2**31:
        raise ValueError
    return version


def _page(
    of: Registry,
    list_name: str,
    found: Sequence[RegistryEntry],
    limit: int,
    position: Callable[[RegistryEntry], list[str | int]],
) -> EntryPage:
    has_more = len(found) > limit
    following = encode_cursor(list_name, position(found[limit - 1])) if has_more else None
    page: Page[Any] = Page(items=[], next_cursor=following, has_more=has_more)
    return of.page(**{**dict(page), "items": [_view(of, row) for row in found[:limit]]})


def _view(of: Registry, row: RegistryEntry) -> Entry:
    fields = {
        "name": row.name,
        "version": row.version,
        "uri": format_reference(row.kind, row.name, row.version),
        "description": row.description,
        "created_at": row.created_at,
        of.kind: row.spec,
    }
    return of.entry.model_validate(fields)
