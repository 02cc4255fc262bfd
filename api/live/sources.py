"""What event streams read: the events of jobs, of studies, and of projects."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy.orm import Session

from ttm_jobs.repositories.run_data import events, project_events
from ttm_jobs.repositories.run_data.events import StreamEvent
from ttm_jobs.repositories.studies import events as study_events
from ttm_jobs.states import TERMINAL
from ttm_jobs.studies.states import ENDED


class _After(Protocol):
    def __call__(self, session: Session, stream_id: str, number: int, /, *, limit: int) -> Sequence[StreamEvent]: ...


@dataclass(frozen=True)
class EventSource:
    """The events of a kind of resource. `is_last` says whether no event follows an event, and `deletable` that a
    resource without a number in `last_event_numbers` was deleted.
    """

    last_event_numbers: Callable[[Session, Collection[str]], dict[str, int]]
    after: _After
    is_last: Callable[[StreamEvent], bool]
    deletable: bool


JOBS = EventSource(
    events.last_event_numbers,
    events.after,
    lambda event: event.kind == "state" and event.data["state"] in TERMINAL,
    deletable=True,
)
STUDIES = EventSource(
    study_events.last_event_numbers,
    study_events.after,
    lambda event: event.kind == "state" and event.data["state"] in ENDED,
    deletable=True,
)
# The stream of a project has no end.
PROJECTS = EventSource(project_events.last_event_numbers, project_events.after, lambda event: False, deletable=False)
