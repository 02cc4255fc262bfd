"""The search of the command palette."""

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Annotated, TypeVar
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Query
from pydantic import BaseModel
from sqlalchemy.orm import Session

from api.architectures import service as architectures
from api.dependencies import EngineDep, SettingsDep
from api.devices import service as devices
from api.http.types import NoControls
from api.operations import service as operations
from api.recipes import service as recipes
from api.registry import service as registry
from ttm_jobs.database.engine import read_scope
from ttm_jobs.models import Job, Study
from ttm_jobs.repositories import references
from ttm_jobs.repositories.jobs import listing
from ttm_jobs.repositories.jobs.listing import NO_STUDY, JobFilters
from ttm_jobs.repositories.studies import crud as studies
from ttm_jobs.settings import Settings

router = APIRouter()

_JOBS = 6
_STUDIES = 5
_OTHERS = 3

Row = TypeVar("Row", Job, Study)


class Result(BaseModel):
    """An entry of the palette: where it leads, its text, and what it is."""

    href: str
    text: str
    note: str


@router.get("/ui/search")
def search_results(
    engine: EngineDep, settings: SettingsDep, q: Annotated[str, Query(min_length=1, max_length=200), NoControls]
) -> list[Result]:
    """What has `q` in its name or at the start of its id: the newest studies, the newest jobs, those of studies
    last, then models and the fleet.
    """
    with read_scope(engine) as session:
        models, fleet = _models(session, settings, q), _fleet(session, settings, q)
        return [*_studies(session, q), *_jobs(session, q), *models, *fleet]


def _studies(session: Session, text: str) -> Iterator[Result]:
    by_id = references.by_prefix(session, Study, text, limit=_STUDIES)
    for study in _first(_STUDIES, by_id, studies.named(session, text, limit=_STUDIES)):
        yield Result(href=f"/ui/studies/{study.id}", text=study.name or study.id, note=f"study · {study.state}")


def _jobs(session: Session, text: str) -> Iterator[Result]:
    by_id = references.by_prefix(session, Job, text, limit=_JOBS)
    alone = listing.page(session, limit=_JOBS, filters=JobFilters(name=text, study=NO_STUDY)).jobs
    by_name = listing.page(session, limit=_JOBS, filters=JobFilters(name=text)).jobs
    for job in _first(_JOBS, by_id, alone, by_name):
        yield Result(href=f"/ui/jobs/{job.id}", text=job.name or job.id, note=f"job · {job.state}")


def _models(session: Session, settings: Settings, text: str) -> Iterator[Result]:
    for of in (registry.TEACHERS, registry.DATASETS):
        for entry in registry.names(of, session, limit=_OTHERS, containing=text).items:
            yield Result(href=_found(f"/ui/{of.kind}s", entry.name), text=entry.name, note=of.kind)
    found = architectures.page(session, settings, query=text, family=None, limit=_OTHERS, cursor=None)
    for architecture in found.items:
        yield Result(href=_found("/ui/architectures", architecture.name), text=architecture.name, note="architecture")
    for recipe in recipes.page(query=text, limit=_OTHERS, cursor=None).items:
        yield Result(href=_found("/ui/recipes", recipe.name), text=recipe.name, note="recipe")


def _fleet(session: Session, settings: Settings, text: str) -> Iterator[Result]:
    part = text.lower()
    workers = operations.worker_list(session, settings).items
    matching = (each for each in workers if part in each.hostname.lower() or each.id.startswith(part))
    for worker in islice(matching, _OTHERS):
        yield Result(href=f"/ui/workers#worker-{worker.id}", text=f"{worker.hostname} {worker.id[:13]}", note="worker")
    known = (device.name for device in devices.list_all(session).items if part in device.name.lower())
    for name in islice(known, _OTHERS):
        yield Result(href=f"/ui/devices#device-{quote(name)}", text=name, note="device")


def _first(most: int, *lists: Sequence[Row]) -> list[Row]:
    """The first rows of several lists, each row once."""
    return list({row.id: row for row in chain(*lists)}.values())[:most]


def _found(page: str, name: str) -> str:
    return f"{page}?{urlencode({'q': name})}"
