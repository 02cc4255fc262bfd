"""The audit log. Sessions on an engine with an author record the first change of a request in the same transaction.

Changes that no request makes are recorded with `record`.
"""

from dataclasses import dataclass, replace
from typing import Any, cast

from sqlalchemy import Engine, event, inspect
from sqlalchemy.orm import ORMExecuteState, Session, UOWTransaction

from ttm_jobs.database.clock import Now
from ttm_jobs.database.ids import new_id
from ttm_jobs.database.tenancy import project_of
from ttm_jobs.models import AuditEntry, Owned

_AUTHOR = "ttm_author"
_CHANGED = "ttm_changed"
_CREATED = "ttm_created"
_ENTRY = "ttm_audit_entry"
_MAX_OBJECT = 512
# The actor of what the dispatcher does by itself.
DISPATCHER = "dispatcher"


@dataclass
class Author:
    """The request that makes a change. `object` names what its path refers to; None if it creates an object.

    `recorded` is set once an entry is committed: a request of several transactions has one entry.
    """

    action: str
    object: str | None
    request_id: str
    key_id: str | None = None
    user_id: str | None = None
    actor: str | None = None
    address: str | None = None
    recorded: bool = False


def process_author(action: str, actor: str) -> Author:
    """The author of a change that no request makes: of the command line, or of the dispatcher."""
    return Author(action, None, new_id(), actor=actor)


def audited(engine: Engine, author: Author) -> Engine:
    """Returns the engine with the author of its changes."""
    return engine.execution_options(**{_AUTHOR: author})


def about(engine: Engine, name: str) -> Engine:
    """Returns the engine for the part of a request that changes the object `name`, which has an entry of its own."""
    author = cast("Author | None", cast(Any, engine).get_execution_options().get(_AUTHOR))
    return engine if author is None else audited(engine, replace(author, object=name, recorded=False))


def _author(session: Session) -> Author | None:
    return cast("Author | None", cast(Any, session.get_bind()).get_execution_options().get(_AUTHOR))


@event.listens_for(Session, "do_orm_execute")
def _notice_statement(state: ORMExecuteState) -> None:
    if state.is_insert or state.is_update or state.is_delete:
        state.session.info[_CHANGED] = True


@event.listens_for(Session, "before_flush")
def _notice_rows(session: Session, context: UOWTransaction, instances: object) -> None:
    created = next((row for row in session.new if isinstance(row, Owned)), None)
    if created is not None:
        session.info.setdefault(_CREATED, created)
    if session.new or session.deleted or any(session.is_modified(row) for row in session.dirty):
        session.info[_CHANGED] = True


@event.listens_for(Session, "before_commit")
def _record(session: Session) -> None:
    author = _author(session)
    if author is None or author.recorded:
        return
    session.flush()
    if not session.info.pop(_CHANGED, False):
        return
    name = author.object or _identity(session.info.pop(_CREATED, None))
    record(session, author, project_id=project_of(session), name=name)
    session.info[_ENTRY] = author


def record(session: Session, author: Author, *, project_id: str, name: str | None) -> None:
    """Adds an entry for a change of the object `name` to the session's transaction."""
    entry = AuditEntry(
        id=new_id(),
        project_id=project_id,
        key_id=author.key_id,
        user_id=author.user_id,
        actor=author.actor,
        action=author.action,
        object=None if name is None else name[:_MAX_OBJECT],
        request_id=author.request_id,
        address=author.address,
        created_at=Now(),
    )
    session.add(entry)


def record_in(session: Session, project_id: str) -> None:
    """Adds an entry of the request to the log of a project that it changes, unless it is the session's own: that entry
    is added in any case.
    """
    author = _author(session)
    if author is not None and project_id != project_of(session):
        record(session, author, project_id=project_id, name=author.object)


@event.listens_for(Session, "after_commit")
def _mark_recorded(session: Session) -> None:
    author = session.info.pop(_ENTRY, None)
    if author is not None:
        author.recorded = True


def _identity(row: Any) -> str | None:
    """The primary key of a row, without the project."""
    if row is None:
        return None
    mapper = inspect(row).mapper
    return "/".join(str(getattr(row, column.key)) for column in mapper.primary_key if column.key != "project_id")
