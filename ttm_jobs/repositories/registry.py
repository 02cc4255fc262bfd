"""The registry: named, versioned teachers and datasets of a project."""

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
    """Whether a registry entry can have this name."""
    return _NAME.fullmatch(text) is not None


def add(session: Session, kind: Kind, name: str, spec: Json, *, description: str | None) -> RegistryEntry:
    """Adds the next version of a name. Raises InvalidName."""
    if not is_name(name):
        raise InvalidName
    project_id = project_of(session)
    # Serializes concurrent additions.
    session.get(Project, project_id, with_for_update=True)
    newest = session.scalar(
        select(func.max(RegistryEntry.version)).where(
            RegistryEntry.project_id == project_id, RegistryEntry.kind == kind, RegistryEntry.name == name
        )
    )
    entry = RegistryEntry(
        project_id=project_id,
        kind=kind,
        name=name,
        version=(newest or 0) + 1,
        spec=spec,
        description=description,
        created_at=now(session),
    )
    session.add(entry)
    return entry


def get(session: Session, kind: Kind, name: str, version: int | None = None) -> RegistryEntry:
    """Returns a version; the newest by default. Raises TeacherNotFound or DatasetNotFound."""
    query = _existing(session, kind).where(RegistryEntry.name == name)
    if version is not None:
        query = query.where(RegistryEntry.version == version)
    found = session.scalar(query.order_by(RegistryEntry.version.desc()).limit(1)) if is_name(name) else None
    if found is None:
        raise _NOT_FOUND[kind]
    return found


def page(session: Session, kind: Kind, *, limit: int, after: str = "", containing: str = "") -> Sequence[RegistryEntry]:
    """Returns the newest version of each name that contains a text, in any case, in alphabetical order."""
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
    query = _existing(session, kind).where(RegistryEntry.name > after, ~newer)
    if containing:
        query = query.where(RegistryEntry.name.icontains(containing, autoescape=True))
    return session.scalars(query.order_by(RegistryEntry.name).limit(limit)).all()


def versions(
    session: Session, kind: Kind, name: str, *, limit: int, before: int | None = None
) -> Sequence[RegistryEntry]:
    """Returns all versions, newest first. Raises TeacherNotFound or DatasetNotFound."""
    get(session, kind, name)
    query = _existing(session, kind).where(RegistryEntry.name == name)
    if before is not None:
        query = query.where(RegistryEntry.version < before)
    return session.scalars(query.order_by(RegistryEntry.version.desc()).limit(limit)).all()


def remove(session: Session, kind: Kind, name: str, version: int) -> None:
    """Deletes a version; existing jobs keep the resolved value. Raises TeacherNotFound or DatasetNotFound."""
    get(session, kind, name, version).removed_at = now(session)


def _existing(session: Session, kind: Kind) -> Select[RegistryEntry]:
    return select(RegistryEntry).where(
        RegistryEntry.project_id == project_of(session), RegistryEntry.kind == kind, RegistryEntry.removed_at.is_(None)
    )
