"""Names in a spec, replaced by what they stand for when the job is submitted."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from sqlalchemy.orm import Session

from api.http.errors import InputNotFound
from api.http.problems import FieldError, Refusal
from api.registry.references import Reference, parse_reference, written
from ttm_jobs.errors import NotFound
from ttm_jobs.models import RegistryEntry
from ttm_jobs.models.registry_entry import Kind
from ttm_jobs.repositories import registry
from ttm_jobs.repositories.jobs.listing import JobFilters

if TYPE_CHECKING:  # the jobs' views show where a name leads
    from api.jobs.schemas import JobRequest

_ADDRESS: Mapping[Kind, str] = {"teacher": "checkpoint", "dataset": "uri"}


@dataclass
class Resolved:
    """A request without names, and the version of each that it had, by its place in the spec."""

    request: "JobRequest"
    resolved_references: dict[str, str] = field(default_factory=dict)


def resolve(session: Session, request: "JobRequest") -> Resolved:
    """What a spec says beside a name goes before what the name stands for. Refusal for a name that stands for nothing;
    RequestValidationError if the whole is no spec.
    """
    told = request.model_dump(exclude_unset=True)
    resolved = Resolved(request)
    faults: list[tuple[InputNotFound, FieldError]] = []
    places: list[tuple[Kind, str, dict[str, Any] | list[Any], Any]] = [
        ("teacher", "teacher", told, "teacher"),
        *(("teacher", f"teachers/{index}", told["teachers"], index) for index in range(len(request.teachers or []))),
        ("dataset", "dataset", told, "dataset"),
    ]
    for kind, place, parent, key in places:
        part: Any = parent[key] if isinstance(parent, list) else parent.get(key)
        reference = None if part is None else parse_reference(part[_ADDRESS[kind]])
        if reference is None or reference.kind != kind:
            continue
        try:
            found = _find(session, reference)
        except NotFound as error:
            pointer = f"/{place}/{_ADDRESS[kind]}"
            faults.append((InputNotFound(error.message), FieldError(pointer=pointer, detail=error.message)))
            continue
        own = {name: value for name, value in part.items() if name != _ADDRESS[kind]}
        parent[key] = {**found.spec, **own}
        resolved.resolved_references[place] = written(kind, found.name, found.version)
    if faults:
        raise Refusal(*faults)
    if resolved.resolved_references:
        try:
            resolved.request = type(request).model_validate(told)
        except ValidationError as error:
            raise RequestValidationError(
                [{**fault, "loc": ("body", *fault["loc"])} for fault in error.errors()], body=told
            ) from None
    return resolved


def by_address(session: Session, filters: JobFilters) -> JobFilters:
    """Filters that name a teacher or a dataset, by what the name stands for: under that the job is found. A name that
    stands for nothing is left as it is, and finds nothing.
    """
    changed: dict[str, Any] = {}
    for kind, address in _ADDRESS.items():
        given = getattr(filters, kind)
        reference = None if given is None else parse_reference(given)
        if reference is not None and reference.kind == kind:
            try:
                changed[kind] = _find(session, reference).spec[address]
            except NotFound:
                continue
    return replace(filters, **changed)


def _find(session: Session, reference: Reference) -> RegistryEntry:
    return registry.get(session, reference.kind, reference.name, reference.version)
