"""Definitions: what a project's names for teachers and datasets stand for."""

import re
from collections.abc import Sequence

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session, aliased

from ttm_jobs.database.clock import now
from ttm_jobs.database.tenancy import project_of
from ttm_jobs.errors import DatasetNotFound, InvalidName, TeacherNotFound
from ttm_jobs.models import Project, RegistryEntry
from ttm_jobs.models.base import Json
from ttm_jobs.models.registry_entry import Kind

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
_NOT_FOUND = {"teacher": TeacherNotFound, "dataset": DatasetNotFound}


def is_name(text: str) -> bool:
    """Whether a definition can have this name."""
    return _NAME.fullmatch(text) is not None


def add(session: Session, kind: Kind, name: str, spec: Json, *, description: str | None) -> RegistryEntry:
    """The next version of a name. InvalidName."""
    if not is_name(name):
        raise InvalidName
    project_id = project_of(session)
    # Of two at once the second waits here, and counts on from the first.
    session.get(Project, project_id, with_for_update=True)
    newest = session.scalar(
        select(func.max(RegistryEntry.version)).where(
            RegistryEntry.project_id == project_id, RegistryEntry.kind == kind, RegistryEntry.name == name
        )
    )
    definition = RegistryEntry(
        project_id=project_id,
        kind=kind,
        name=name,
        version=(newest or 0) + 1,
        spec=spec,
        description=description,
        created_at=now(session),
    )
    session.add(definition)
    return definition


def get(session: Session, kind: Kind, name: str, version: int | None = None) -> RegistryEntry:
    """That version, or the newest. TeacherNotFound, DatasetNotFound."""
    query = _standing(session, kind).where(RegistryEntry.name == name)
    if version is not None:
        query = query.where(RegistryEntry.version == version)
    found = session.scalar(query.order_by(RegistryEntry.version.desc()).limit(1)) if is_name(name) else None
    if found is None:
        raise _NOT_FOUND[kind]
    return found


def page(session: Session, kind: Kind, *, limit: int, after: str = "") -> Sequence[RegistryEntry]:
    """The newest version of each name, in order of the names."""
    other = aliased(RegistryEntry)
    newer = (
        select(other.version)
        .where(
            other.project_id == RegistryEntry.project_id,
            other.kind == RegistryEntry.kind,
            other.name == RegistryEntry.name,
            other.version > RegistryEntry.version,
            other.removed_at.is_(None),
        )
        .exists()
    )
    query = _standing(session, kind).where(RegistryEntry.name > after, ~newer)
    return session.scalars(query.order_by(RegistryEntry.name).limit(limit)).all()


def versions(
    session: Session, kind: Kind, name: str, *, limit: int, before: int | None = None
) -> Sequence[RegistryEntry]:
    """Newest first. TeacherNotFound, DatasetNotFound."""
    get(session, kind, name)
    query = _standing(session, kind).where(RegistryEntry.name == name)
    if before is not None:
        query = query.where(RegistryEntry.version < before)
    return session.scalars(query.order_by(RegistryEntry.version.desc()).limit(limit)).all()


def remove(session: Session, kind: Kind, name: str, version: int) -> None:
    """Jobs that were made from it keep what it stood for. TeacherNotFound, DatasetNotFound."""
    get(session, kind, name, version).removed_at = now(session)


def _standing(session: Session, kind: Kind) -> Select[RegistryEntry]:
    return select(RegistryEntry).where(
        RegistryEntry.project_id == project_of(session), RegistryEntry.kind == kind, RegistryEntry.removed_at.is_(None)
    )
