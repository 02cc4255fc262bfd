"""The columns of the jobs' list, and what only they compute."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlencode

from starlette.datastructures import URL

from api.jobs.schemas import JobSummary


@dataclass(frozen=True)
class Column:
    """`name` is also that of the order by it."""

    name: str
    title: str
    number: bool = False
    optional: bool = True


def waited_seconds(job: JobSummary) -> float:
    """From submission to the first claim, or until now."""
    return ((job.started_at or job.finished_at or datetime.now(UTC)) - job.created_at).total_seconds()


def ran_seconds(job: JobSummary) -> float | None:
    """From the first claim to the end, or until now; None before it."""
    return None if job.started_at is None else ((job.finished_at or datetime.now(UTC)) - job.started_at).total_seconds()


COLUMNS = (
    Column("name", "Job", optional=False),
    Column("state", "State", optional=False),
    Column("owner", "Owner"),
    Column("models", "Teacher → student"),
    Column("dataset", "Dataset"),
    Column("method", "Method"),
    Column("progress", "Progress"),
    Column("top1", "Top-1", number=True),
    Column("gap", "Gap", number=True),
    Column("compression", "Smaller", number=True),
    Column("attempt", "Attempt", number=True),
    Column("waited", "Queued for", number=True),
    Column("ran", "Run time", number=True),
    Column("submitted", "Submitted"),
)


# Where in a list a page is.
_PLACES = ("cursor", "page")


class Query:
    """Of a list. A page's place is left out, since another filter or order has other pages."""

    def __init__(self, url: URL, parameters: Iterable[tuple[str, str]]) -> None:
        self._path = url.path
        self._parameters = [(name, value) for name, value in parameters if name not in _PLACES and value]

    def having(self, name: str, value: str | None) -> str:
        """This address with one value of a parameter in place of all it had; None takes it away."""
        kept = [pair for pair in self._parameters if pair[0] != name]
        return self._address(kept if value is None else [*kept, (name, value)])

    def toggled(self, name: str, value: str) -> str:
        """This address with one value of a repeated parameter added, or taken away where it stands."""
        pair = (name, value)
        kept = [other for other in self._parameters if other != pair]
        return self._address(kept if pair in self._parameters else [*kept, pair])

    def others(self, *names: str) -> list[tuple[str, str]]:
        """The parameters beside these, for the hidden fields of a form."""
        return [pair for pair in self._parameters if pair[0] not in names]

    def _address(self, parameters: list[tuple[str, str]]) -> str:
        return f"{self._path}?{urlencode(parameters)}" if parameters else self._path
