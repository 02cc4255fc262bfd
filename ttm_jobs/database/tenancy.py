"""Multi-tenancy. Sessions on an engine bound to a project read, change and delete only rows of that project, whatever
the
query.
"""

from functools import lru_cache
from typing import Any, cast

from sqlalchemy import Engine, event
from sqlalchemy.orm import LoaderCriteriaOption, ORMExecuteState, Session, with_loader_criteria

from ttm_jobs.models import DEFAULT_PROJECT, Owned

_PROJECT = "ttm_project"


def bound_to(engine: Engine, project_id: str) -> Engine:
    """Returns the engine restricted to a project."""
    return engine.execution_options(**{_PROJECT: project_id})


def project_of(session: Session) -> str:
    """The project of rows that the session creates."""
    return _bound(session) or DEFAULT_PROJECT


def _bound(session: Session) -> str | None:
    return cast("str | None", cast(Any, session.get_bind()).get_execution_options().get(_PROJECT))


@event.listens_for(Session, "do_orm_execute")
def _filter_by_project(state: ORMExecuteState) -> None:
    project = _bound(state.session)
    # A refresh of an already loaded row needs no filter.
    if project is not None and not state.is_column_load and not state.is_relationship_load:
        state.statement = state.statement.options(_only(project))


@lru_cache(1024)
def _only(project: str) -> LoaderCriteriaOption:
    return with_loader_criteria(Owned, lambda row: row.project_id == project, include_aliases=True)
