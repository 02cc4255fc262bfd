"""Architectures of packages that are installed on workers."""

from collections.abc import Iterable
from datetime import timedelta

from sqlalchemy.orm import Session

from ttm_core.spec import catalogue
from ttm_core.spec.catalogue import Architecture
from ttm_core.spec.job import TeacherSpec
from ttm_core.spec.student.student import StudentSpec
from ttm_jobs.errors import ServiceError
from ttm_jobs.repositories import installed
from ttm_jobs.repositories.jobs import crud
from ttm_jobs.settings import Settings
from ttm_jobs.uris import JobUri, parse_uri


def by_name(session: Session, settings: Settings) -> dict[str, Architecture]:
    """The architectures that running workers have installed, by name."""
    rows = installed.reported(session, within=timedelta(seconds=settings.worker_timeout_seconds))
    return {row["name"]: catalogue.from_json(row) for row in rows.values()}


def for_names(session: Session, settings: Settings, names: Iterable[str | None]) -> dict[str, Architecture]:
    """`by_name` if any of the names is not in the catalogue, else {} without a query."""
    if all(name is None or catalogue.has(name.partition(".")[0]) for name in names):
        return {}
    return by_name(session, settings)


def needed(session: Session, settings: Settings, models: Iterable[TeacherSpec | StudentSpec]) -> str | None:
    """The keys of the architectures of packages that a worker needs to run these valid models, as in jobs.

    Files that are not students of jobs may have such an architecture, too; their spec must name it.
    """
    models = list(models)
    found = for_names(session, settings, (model.architecture for model in models))
    keys: list[str] = []
    for model in models:
        row = found.get(model.architecture or "")
        if row is not None:
            keys.append(installed.key(row.name, row.origin or ""))
        if model.checkpoint is not None:
            keys += _of_checkpoint(session, model.checkpoint)
    return installed.joined(keys)


def _of_checkpoint(session: Session, uri: str) -> Iterable[str]:
    try:
        parsed = parse_uri(uri)
        return installed.of_student(crud.get(session, parsed.job_id)) if isinstance(parsed, JobUri) else ()
    except ServiceError:
        return ()  # the check of URIs reports it
