"""Counts failed sign-ins per address for all API processes."""

from datetime import timedelta

from sqlalchemy import case, delete, select
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.orm import Session

from ttm_jobs.database.clock import now
from ttm_jobs.models import SignInFailures

WINDOW = timedelta(minutes=1)


def add(session: Session, address: str) -> tuple[int, float]:
    """Counts a failure. Returns the failures in the current minute and the seconds until it ends."""
    insert = sqlite_insert if session.get_bind().dialect.name == "sqlite" else postgresql_insert
    at = now(session)
    is_over = SignInFailures.since <= at - WINDOW
    statement = (
        insert(SignInFailures)
        .values(address=address, failures=1, since=at)
        .on_conflict_do_update(
            index_elements=[SignInFailures.address],
            set_={
                "failures": case((is_over, 1), else_=SignInFailures.failures + 1),
                "since": case((is_over, at), else_=SignInFailures.since),
            },
        )
        .returning(SignInFailures.failures, SignInFailures.since)
    )
    failures, since = session.execute(statement).one()
    if failures == 1:
        _delete_old(session, limit=100)
    return failures, max((since + WINDOW - at).total_seconds(), 1.0)


def _delete_old(session: Session, *, limit: int) -> None:
    # Each new address deletes up to a hundred old ones, so the table stays as small as the current minute needs.
    old = select(SignInFailures.address).where(SignInFailures.since <= now(session) - WINDOW).limit(limit)
    session.execute(delete(SignInFailures).where(SignInFailures.address.in_(old)))
