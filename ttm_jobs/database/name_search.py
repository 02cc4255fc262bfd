"""The index for substring search in job names: pg_trgm on PostgreSQL, FTS5 on SQLite.

SQLite keeps the names in the full-text table `job_name_search`, maintained by triggers. The table `job_names` maps its
row numbers to jobs, because the row numbers of `jobs` itself change with VACUUM.
"""

from sqlalchemy import ColumnElement, text
from sqlalchemy.orm import Session

from ttm_jobs.models import Job

_MIN_LENGTH = 3  # a trigram
_MANY = 1000


def contains(session: Session, substring: str) -> ColumnElement[bool]:
    """A condition for jobs whose name contains `substring`, ignoring case."""
    if session.get_bind().dialect.name == "sqlite" and len(substring) >= _MIN_LENGTH:
        phrase = '"' + substring.replace('"', '""') + '"'
        found = text(
            "SELECT job_id FROM job_name_search JOIN job_names ON number = job_name_search.rowid"
            " WHERE job_name_search MATCH :phrase LIMIT :many"
        )
        ids = session.scalars(found, {"phrase": phrase, "many": _MANY}).all()
        # Many matches are dense in the list, so reading the list in its order finds a page sooner.
        if len(ids) < _MANY:
            return Job.id.in_(ids)
    return Job.name.icontains(substring, autoescape=True)
