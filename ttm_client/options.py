"""Typed arguments of the client's methods."""

import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, TypedDict

from pydantic import BaseModel

from ttm_client.models.jobs import Architecture, JobSummary, Recipe, Upload
from ttm_client.models.resources import RegisteredDataset, RegisteredTeacher
from ttm_client.references import StudyReference, with_references

Named = str | JobSummary | Upload | RegisteredTeacher | RegisteredDataset
"""A URI or a name, or a response that has one."""

Part = Named | Architecture | os.PathLike[str] | Mapping[str, Any]
"""A URI, a name or a local path, a response that has one of these, or an object with the fields of the API. A job is
its student.
"""


class JobOptions(TypedDict, total=False):
    """Optional fields of a job, as in `POST /jobs`.

    >>> options: JobOptions = {"method": "ce", "training": {"epochs": 5}, "priority": 7}
    >>> client.jobs.create(student="resnet18", dataset=dataset, **options).spec["training"]["epochs"]
    5
    """

    name: str
    tags: list[str]
    teachers: list[Part]
    method: Part
    training: Mapping[str, Any]
    exports: list[str]
    priority: int
    queue: str
    device: Literal["cpu", "cuda"]
    device_memory_bytes: int
    max_attempts: int
    deadline: float | datetime | str


class StudyOptions(TypedDict, total=False):
    """Optional fields of a study, as in `POST /studies`.

    >>> options: StudyOptions = {"students": ["resnet18"], "goal": "smallest", "seeds": 1}
    >>> limits = {"retention": 0.97}
    >>> client.studies.create(teacher="job:" + done.id, dataset=dataset, limits=limits, **options).goal
    'smallest'
    """

    name: str
    tags: list[str]
    goal: Literal["smallest", "fastest", "most_accurate"]
    students: Literal["auto"] | Sequence[str | Mapping[str, Any]]
    search: Mapping[str, Any]
    method: Part
    training: Mapping[str, Any]
    budget: Mapping[str, Any]
    seeds: int
    seed: int
    baseline: bool
    screen_only: bool
    quantize: Mapping[str, Any]
    exports: list[str]
    priority: int
    queue: str
    device: Literal["cpu", "cuda"]
    device_memory_bytes: int
    max_attempts: int
    deadline: float | datetime | str


class JobChanges(TypedDict, total=False):
    """Fields of a job that can change at any time. A `name` of None removes the name.

    >>> changes: JobChanges = {"name": "pets, third try", "tags": ["pets"]}
    >>> client.jobs.update(done.id, **changes).tags
    ('pets',)
    """

    name: str | None
    tags: list[str]


KeyScope = Literal["measure", "read", "submit", "admin"]
"""`measure`: only download and measure ONNX artifacts. `read`: read only. `submit`: also submit and change jobs.
`admin`: also create and revoke keys."""


class WebhookChanges(TypedDict, total=False):
    """Fields of a webhook that can change. A `description` of None removes the description.

    >>> webhook = client.webhooks.create("https://hooks.example.org/ttm")
    >>> changes: WebhookChanges = {"events": ["job.failed"], "description": "Pages the engineer on call"}
    >>> client.webhooks.update(webhook.id, **changes).events
    ('job.failed',)
    """

    url: str
    events: Sequence[str]
    description: str | None
    enabled: bool


class JobFilters(TypedDict, total=False):
    """Which jobs a list or a change of several jobs selects: `name` is a part of the name in any case, `teacher` and
    `dataset` are URIs, names in the registry such as `dataset:pets`, or responses that have one of these, `owner` is
    the name of a key, `study` a study, its id or its name, or `none` for the jobs that belong to no study.

    >>> filters: JobFilters = {"dataset": dataset, "created_after": "2020-01-01T00:00:00Z"}
    >>> len(list(client.jobs.list(**filters)))
    4
    """

    name: str
    teacher: Named
    dataset: Named
    owner: str
    study: StudyReference
    created_after: datetime | str
    created_before: datetime | str


def items(values: Iterable[Any]) -> list[Any]:
    """The values in their order. A string is one value, not its characters, and a job not its fields. Raises TypeError
    for a value that cannot be iterated over.
    """
    if isinstance(values, str | BaseModel):
        return [values]
    if not isinstance(values, Iterable):
        raise TypeError(f"Expected a list, not {type(values).__name__}.")
    return [*values]


def texts(values: Iterable[str], name: str) -> list[str]:
    """The strings in their order; one string is one value. Raises TypeError for other values, which as parameters
    would select nothing.
    """
    found = items(values)
    for each in found:
        if not isinstance(each, str):
            raise TypeError(f"The {name} must be strings, not {type(each).__name__}.")
    return found


def as_time(value: datetime | str) -> str:
    """A time in ISO 8601 format. Raises TypeError unless it is a datetime or a string."""
    if not isinstance(value, datetime | str):
        raise TypeError(f"Expected a datetime or a string in ISO 8601 format, not {type(value).__name__}.")
    return value.isoformat() if isinstance(value, datetime) else value


def as_body(states: Iterable[str], tags: Iterable[str], filters: JobFilters) -> dict[str, Any]:
    """Filters as the `filter` of a change of several jobs."""
    return {"state": texts(states, "states"), "tag": texts(tags, "tags"), **as_query(filters)}


def as_query(filters: JobFilters) -> dict[str, str]:
    """Filters as query parameters. Raises TypeError for other names: the service ignores unknown parameters, so that
    a misspelled filter would select all jobs. Raises TypeError for a value that is no string or time, such as None.
    """
    unknown = [name for name in filters if name not in JobFilters.__annotations__]
    if unknown:
        known = ", ".join(("states", "tags", *JobFilters.__annotations__))
        raise TypeError(f"There is no filter {unknown[0]!r}. Filters are {known}.")
    values: dict[str, Any] = with_references(filters)
    for name, value in values.items():
        if not isinstance(value, str | datetime):
            advice = ": omit it" if value is None else ""
            raise TypeError(f"The filter {name!r} cannot be {type(value).__name__}{advice}.")
    return {name: as_time(value) for name, value in values.items()}


def spec_of(
    dataset: Part, student: Part | None, teacher: Part | None, recipe: str | Recipe | None, options: JobOptions
) -> dict[str, Any]:
    """The body of `POST /jobs`."""
    parts = {"dataset": dataset, "student": student, "teacher": teacher, "recipe": recipe}
    spec = {name: part for name, part in parts.items() if part is not None} | dict(options)
    deadline = spec.get("deadline")
    return spec | {"deadline": deadline.isoformat()} if isinstance(deadline, datetime) else spec


def study_of(dataset: Part, teacher: Part, limits: Mapping[str, Any], options: StudyOptions) -> dict[str, Any]:
    """The body of `POST /studies`."""
    spec: dict[str, Any] = {"dataset": dataset, "teacher": teacher, "limits": limits, **options}
    deadline = spec.get("deadline")
    return spec | {"deadline": deadline.isoformat()} if isinstance(deadline, datetime) else spec
