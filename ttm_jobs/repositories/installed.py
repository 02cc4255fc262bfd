"""Architectures of packages that workers have installed, and the jobs that need them.

An architecture's key is `NAME@PACKAGE`. Workers report rows by key; a job's `architectures` is the sorted keys that it
needs, separated by spaces, or None.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from ttm_jobs.database.clock import now
from ttm_jobs.models import Job, Worker
from ttm_jobs.models.base import Json


def key(name: str, origin: str) -> str:
    """The key of an architecture. `origin` is its package, optionally with the version: `acme-models 1.0`."""
    return f"{name}@{origin.partition(' ')[0]}"


def reported(session: Session, *, within: timedelta) -> dict[str, Json]:
    """The rows of all architectures that workers seen recently have installed, by key. The newest worker's row wins."""
    query = select(Worker.architectures).where(Worker.kind == "worker", Worker.last_seen_at >= now(session) - within)
    rows: dict[str, Json] = {}
    for installed in session.scalars(query.order_by(Worker.started_at, Worker.id)):
        rows |= installed
    return dict(sorted(rows.items()))


def joined(keys: Iterable[str]) -> str | None:
    """The text of a job's keys; None for none."""
    return " ".join(sorted(set(keys))) or None


def keys_of(architectures: str | None) -> list[str]:
    """The keys in the text of a job."""
    return [] if architectures is None else architectures.split(" ")


def has_all(installed: Collection[str] | Mapping[str, Json], architectures: str | None) -> bool:
    """Whether a worker with these keys has every architecture that a job needs."""
    return all(each in installed for each in keys_of(architectures))


def of_student(job: Job) -> Sequence[str]:
    """The keys that another job needs to load this job's student."""
    structure = job.student_structure or {}
    return [each for each in keys_of(job.architectures) if each.partition("@")[0] == structure.get("architecture")]
