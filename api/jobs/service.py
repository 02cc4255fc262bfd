"""Decisions about jobs: which specs are accepted, and what a page holds."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, assert_never

from sqlalchemy.orm import Session

from api.errors import InvalidRequest, pointer
from api.identifiers import is_id
from api.jobs.schemas import JobOut, JobPage, MetricPage
from api.jobs.views import detail, point, summary
from api.pagination import decode_cursor, encode_cursor
from api.problems import FieldError, Refusal
from ttm_core import catalogue
from ttm_core.spec import DistillSpec
from ttm_jobs.errors import Invalid, JobNotFinished, NotFound, ServiceError, UploadNotComplete, UriNotAllowed
from ttm_jobs.models import Job, UploadState
from ttm_jobs.repositories import artifacts, events, jobs, metrics, uploads
from ttm_jobs.settings import Settings
from ttm_jobs.states import TERMINAL, JobState
from ttm_jobs.uris import FileUri, JobUri, UploadUri, Uri, local_path, parse_uri

_CURSOR = "jobs"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class UnknownArchitecture(Invalid):
    """No architecture has this name; the nearest are named."""

    code = "unknown_architecture"


class InputNotFound(Invalid):
    """An address in the spec names nothing."""

    code = "input_not_found"


def create(session: Session, settings: Settings, spec: DistillSpec) -> JobOut:
    """A queued job. Refusal, with an entry for each fault, if the spec cannot run whatever the worker."""
    faults = list(_faults(session, settings, spec))
    if faults:
        raise Refusal(*faults)
    job = jobs.create(
        session,
        spec=spec.model_dump(mode="json"),
        student=spec.student.architecture,
        dataset=spec.dataset.uri,
        method=spec.method.kind,
        teacher=spec.teacher.checkpoint if spec.teacher else None,
        name=spec.name,
        max_attempts=settings.max_attempts,
    )
    session.flush()
    return show(session, job)


def get(session: Session, job_id: str) -> JobOut:
    """JobNotFound."""
    return show(session, jobs.get(session, job_id))


def show(session: Session, job: Job) -> JobOut:
    """The whole view of a job."""
    return detail(job, artifacts.of_job(session, job.id), events.history(session, job.id))


def change(session: Session, wish: Callable[[Session, str], Job], job_id: str) -> JobOut:
    """The job after a wish of its user: a repository function that may refuse it with a Conflict."""
    job = wish(session, job_id)
    session.flush()
    return show(session, job)


def page(session: Session, *, limit: int, cursor: str | None, states: Collection[JobState]) -> JobPage:
    """A page of jobs, newest first."""
    found = jobs.page(
        session,
        limit=limit,
        before=None if cursor is None else decode_cursor(_CURSOR, cursor, _position),
        states=states,
    )
    following = _cursor(found.jobs[-1]) if found.has_more else None
    return JobPage(items=[summary(job) for job in found.jobs], next_cursor=following, has_more=found.has_more)


def metric_page(session: Session, job_id: str, *, names: Sequence[str], after_step: int, limit: int) -> MetricPage:
    """The numbers of a job by step. JobNotFound."""
    points = metrics.points(session, jobs.get(session, job_id), names=names, after_step=after_step, limit=limit + 1)
    has_more = len(points) > limit
    items = [point(row) for row in points[:limit]]
    return MetricPage(items=items, has_more=has_more, next_after_step=items[-1].step if has_more else None)


@dataclass(frozen=True)
class StreamStart:
    """Where a listener begins: after event `after`; `newest` is the job's newest. `over`: nothing more will come."""

    job_id: str
    after: int
    newest: int
    over: bool


def stream_start(session: Session, job_id: str, last_event_id: str | None) -> StreamStart:
    """JobNotFound; Refusal for an id that no event has."""
    job = jobs.get(session, job_id)
    if last_event_id and not (last_event_id.isascii() and last_event_id.isdecimal()):
        error = InvalidRequest("Last-Event-ID is the number of an event.")
        raise Refusal((error, FieldError(pointer="/last-event-id", detail=error.message, where="header")))
    after = min(int(last_event_id or 0), job.last_event)
    over = job.state in TERMINAL and after == job.last_event
    return StreamStart(job.id, after, job.last_event, over)


def _cursor(job: Job) -> str:
    # Whole microseconds: a float would round the time to another row's.
    return encode_cursor(_CURSOR, [(job.created_at - _EPOCH) // timedelta(microseconds=1), job.id])


def _position(position: list[Any]) -> tuple[datetime, str]:
    microseconds, job_id = position
    if not is_id(job_id):
        raise ValueError
    return _EPOCH + timedelta(microseconds=microseconds), job_id


Fault = tuple[ServiceError, FieldError]


def _faults(session: Session, settings: Settings, spec: DistillSpec) -> Iterator[Fault]:
    yield from _text_faults(spec.model_dump(mode="json"), ())
    yield from _architecture_fault(spec.student.architecture, "/student/architecture")
    roots = settings.data_roots
    yield from _address_fault(session, roots, spec.dataset.uri, "/dataset/uri", (UploadUri, FileUri))
    if spec.teacher is not None:
        if spec.teacher.architecture is not None:
            yield from _architecture_fault(spec.teacher.architecture, "/teacher/architecture")
        yield from _address_fault(session, roots, spec.teacher.checkpoint, "/teacher/checkpoint")
    if spec.student.checkpoint is not None:
        yield from _address_fault(session, roots, spec.student.checkpoint, "/student/checkpoint")


def _text_faults(value: Any, path: tuple[str | int, ...]) -> Iterator[Fault]:
    match value:
        case dict():
            for name, part in value.items():
                yield from _text_faults(part, (*path, name))
        case list():
            for index, part in enumerate(value):
                yield from _text_faults(part, (*path, index))
        case str() if any(ord(character) < 32 or ord(character) == 127 for character in value):
            # PostgreSQL stores no NUL, and a terminal obeys the others.
            yield InvalidRequest(), FieldError(pointer=pointer(path), detail="Control characters are not allowed.")


def _architecture_fault(name: str, at: str) -> Iterator[Fault]:
    try:
        catalogue.find(name)
    except catalogue.UnknownArchitecture as error:
        message = f"There is no architecture {name!r}."
        if error.nearest:
            message += f" Did you mean {' or '.join(repr(near) for near in error.nearest)}?"
        yield UnknownArchitecture(message), FieldError(pointer=at, detail=message)


def _address_fault(
    session: Session,
    roots: Sequence[Path],
    uri: str,
    at: str,
    kinds: tuple[type[Uri], ...] = (UploadUri, JobUri, FileUri),
) -> Iterator[Fault]:
    try:
        parsed = parse_uri(uri)
        if not isinstance(parsed, kinds):
            raise UriNotAllowed("A dataset is an upload or a file, not a job.")
        _check_there(session, roots, parsed)
    except ServiceError as error:
        # A thing that is named in a spec and missing is a fault of the spec, not of the path of the request.
        fault = InputNotFound(error.message) if isinstance(error, NotFound) else error
        yield fault, FieldError(pointer=at, detail=error.message)


def _check_there(session: Session, roots: Sequence[Path], uri: Uri) -> None:
    match uri:
        case UploadUri(upload_id=upload_id):
            if uploads.get(session, upload_id).state is not UploadState.COMPLETE:
                raise UploadNotComplete
        case JobUri(job_id=job_id):
            if jobs.get(session, job_id).state is not JobState.SUCCEEDED:
                raise JobNotFinished("The job has not succeeded, so there is no student to start from.")
        case FileUri():
            local_path(uri, roots)
        case _:
            assert_never(uri)
