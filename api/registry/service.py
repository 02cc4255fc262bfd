"""Decisions about named teachers and datasets."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sqlalchemy.orm import Session

from api.http.pagination import Page, decode_cursor, encode_cursor
from api.http.problems import Refusal
from api.jobs.validation import OF_DATASETS, OF_TEACHERS, address_fault
from api.registry.references import written
from api.registry.schemas import DatasetOut, DatasetRequest, TeacherOut, TeacherRequest
from ttm_jobs.models import RegistryEntry
from ttm_jobs.models.registry_entry import Kind
from ttm_jobs.repositories import registry
from ttm_jobs.settings import Settings

Shown = TypeVar("Shown", TeacherOut, DatasetOut)


def add_teacher(session: Session, settings: Settings, request: TeacherRequest) -> TeacherOut:
    """The next version. Refusal for an address that no job could name."""
    _check(address_fault(session, settings, request.teacher.checkpoint, "/teacher/checkpoint", OF_TEACHERS))
    spec = request.teacher.model_dump(mode="json", exclude_unset=True)
    return teacher(registry.add(session, "teacher", request.name, spec, description=request.description))


def add_dataset(session: Session, settings: Settings, request: DatasetRequest) -> DatasetOut:
    """The next version. Refusal for an address that no job could name."""
    _check(address_fault(session, settings, request.dataset.uri, "/dataset/uri", OF_DATASETS))
    spec = request.dataset.model_dump(mode="json", exclude_unset=True)
    return dataset(registry.add(session, "dataset", request.name, spec, description=request.description))


def names(
    session: Session, kind: Kind, show: Callable[[RegistryEntry], Shown], *, limit: int, cursor: str | None
) -> Page[Shown]:
    """A page of the newest versions, by name."""
    after = "" if cursor is None else decode_cursor(f"{kind}s", cursor, lambda position: str(position[0]))
    found = registry.page(session, kind, limit=limit + 1, after=after)
    return _page(f"{kind}s", found, limit, show, lambda last: [last.name])


def versions(
    session: Session, kind: Kind, name: str, show: Callable[[RegistryEntry], Shown], *, limit: int, cursor: str | None
) -> Page[Shown]:
    """A page of the versions of a name, newest first. TeacherNotFound, DatasetNotFound."""
    list_name = f"{kind} versions"
    before = None if cursor is None else decode_cursor(list_name, cursor, lambda position: int(position[0]))
    found = registry.versions(session, kind, name, limit=limit + 1, before=before)
    return _page(list_name, found, limit, show, lambda last: [last.version])


def teacher(row: RegistryEntry) -> TeacherOut:
    """A version as it is shown."""
    return TeacherOut(**_fields(row), teacher=row.spec)


def dataset(row: RegistryEntry) -> DatasetOut:
    """A version as it is shown."""
    return DatasetOut(**_fields(row), dataset=row.spec)


def _check(faults: Any) -> None:
    if found := list(faults):
        raise Refusal(*found)


def _page(
    list_name: str,
    found: Sequence[RegistryEntry],
    limit: int,
    show: Callable[[RegistryEntry], Shown],
    position: Callable[[RegistryEntry], list[str | int]],
) -> Page[Shown]:
    has_more = len(found) > limit
    following = encode_cursor(list_name, position(found[limit - 1])) if has_more else None
    return Page(items=[show(row) for row in found[:limit]], next_cursor=following, has_more=has_more)


def _fields(row: RegistryEntry) -> dict[str, Any]:
    return {
        "name": row.name,
        "version": row.version,
        "uri": written(row.kind, row.name, row.version),
        "description": row.description,
        "created_at": row.created_at,
    }
