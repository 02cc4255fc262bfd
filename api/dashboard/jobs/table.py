"""The columns of the jobs table and links to other pages of a list."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self
from urllib.parse import urlencode

from starlette.datastructures import URL
from starlette.requests import Request

from api.jobs.schemas import JobSummary
from api.saved_views.queries import POSITIONS
from ttm_jobs.states import TERMINAL


@dataclass(frozen=True)
class Column:
    """A column. Sorting by it uses the same `name`. A column with a `value` is hidden at first where all rows have the
    same one.
    """

    name: str
    title: str
    number: bool = False
    optional: bool = True
    value: Callable[[JobSummary], object] | None = None


def waited_seconds(job: JobSummary) -> float:
    """Seconds from submission to the first attempt, or until now."""
    return ((job.started_at or job.finished_at or datetime.now(UTC)) - job.created_at).total_seconds()


def ran_seconds(job: JobSummary) -> float | None:
    """Seconds that the attempts have run so far, without pauses and waits. None before the first attempt."""
    if job.started_at is None:
        return None
    current = job.attempt_started_at
    return job.device_seconds + (0.0 if current is None else (datetime.now(UTC) - current).total_seconds())


def _accuracy(name: str) -> Callable[[JobSummary], object]:
    return lambda job: getattr(job.accuracy, name, None)


COLUMNS = (
    Column("name", "Job", optional=False),
    Column("state", "State", optional=False),
    Column("owner", "Owner", value=lambda job: job.owner),
    Column("models", "Teacher → student"),
    Column("dataset", "Dataset", value=lambda job: job.dataset),
    Column("method", "Method", value=lambda job: job.method),
    Column("progress", "Progress", value=lambda job: job.state in TERMINAL or job.progress is None),
    Column("top1", "Top-1", number=True, value=_accuracy("student")),
    Column("change", "vs. teacher", number=True, value=_accuracy("change_points")),
    Column("compression", "Model size", number=True, value=lambda job: job.compression),
    Column("attempt", "Attempt", number=True, value=lambda job: max(job.attempt, 1)),
    Column("waited", "Queued for", number=True, value=lambda _: None),
    Column("ran", "Run time", number=True, value=lambda job: job.started_at),
    Column("submitted", "Submitted"),
)


def equal_columns(jobs: Sequence[JobSummary]) -> list[str]:
    """The names of the columns that are empty or equal in all rows. `Queued for` is always among them."""
    if len(jobs) < 2:
        return ["waited"]
    return [column.name for column in COLUMNS if column.value and len({column.value(job) for job in jobs}) == 1]


def common_teacher(jobs: Sequence[JobSummary]) -> str | None:
    """The teacher of all jobs that have one, if there are several jobs and it is the same."""
    teachers = {job.teacher for job in jobs if job.teacher}
    return teachers.pop() if len(jobs) > 1 and len(teachers) == 1 else None


class Query:
    """Links from a list page to itself with other parameters. They start at the first page, because pages depend on the
    filters and the order.
    """

    def __init__(self, url: URL, parameters: Iterable[tuple[str, str]]) -> None:
        self._path = url.path
        self._parameters = [(name, value) for name, value in parameters if name not in POSITIONS and value]

    @classmethod
    def of(cls, request: Request) -> Self:
        """The links of a requested page."""
        return cls(request.url, request.query_params.multi_items())

    def having(self, name: str, value: str | None, **others: str) -> str:
        """The address with a parameter, and `others`, set to one value each. None removes the parameter."""
        changed = {name: value, **others}
        kept = [pair for pair in self._parameters if pair[0] not in changed]
        return self._address([*kept, *((name, value) for name, value in changed.items() if value is not None)])

    def without(self, *names: str) -> str:
        """The address without these parameters."""
        return self._address(self.others(*names))

    def toggled(self, name: str, value: str) -> str:
        """The address with a value of a repeatable parameter added, or removed if present."""
        pair = (name, value)
        kept = [other for other in self._parameters if other != pair]
        return self._address(kept if pair in self._parameters else [*kept, pair])

    def others(self, *names: str) -> list[tuple[str, str]]:
        """All other parameters, for the hidden fields of a form."""
        return [pair for pair in self._parameters if pair[0] not in names]

    def _address(self, parameters: list[tuple[str, str]]) -> str:
        return f"{self._path}?{urlencode(parameters)}" if parameters else self._path
