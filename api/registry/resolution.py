"""Resolution of references in specs at submission."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar, cast

from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from sqlalchemy.orm import Session

from api.http.errors import InputNotFound
from api.http.problems import FieldError, FieldErrors
from api.registry.references import Reference, format_reference, parse_reference
from ttm_core.spec.job import DistillSpec
from ttm_core.spec.study.study import StudySpec
from ttm_jobs.errors import NotFound
from ttm_jobs.models import RegistryEntry
from ttm_jobs.models.registry_entry import Kind
from ttm_jobs.repositories import registry
from ttm_jobs.repositories.jobs.listing import JobFilters

Request = TypeVar("Request", bound=DistillSpec | StudySpec)
_URI_FIELD: Mapping[Kind, str] = {"teacher": "checkpoint", "dataset": "uri"}


@dataclass
class Resolved(Generic[Request]):
    """A request without references, and the resolved references by spec field."""

    request: Request
    resolved_references: dict[str, str] = field(default_factory=dict)


def resolve(session: Session, request: Request) -> Resolved[Request]:
    """Replaces references by the registered specs. Fields of the request override those of the registered spec.

    Raises FieldErrors for unknown references, and RequestValidationError if the result is not a valid spec.
    """
    fields = request.model_dump(exclude_unset=True)
    resolved = Resolved(request)
    faults: list[tuple[InputNotFound, FieldError]] = []
    places: list[tuple[Kind, str, dict[str, Any] | list[Any], Any]] = [
        ("teacher", "teacher", fields, "teacher"),
        *(
            ("teacher", f"teachers/{index}", fields["teachers"], index)
            for index in range(len(fields.get("teachers") or []))
        ),
        ("dataset", "dataset", fields, "dataset"),
    ]
    for kind, place, parent, key in places:
        part: Any = parent[key] if isinstance(parent, list) else parent.get(key)
        reference = None if part is None else parse_reference(part[_URI_FIELD[kind]])
        if reference is None or reference.kind != kind:
            continue
        try:
            found = _find(session, reference)
        except NotFound as error:
            pointer = f"/{place}/{_URI_FIELD[kind]}"
            faults.append((InputNotFound(error.message), FieldError(pointer=pointer, detail=error.message)))
            continue
        own = {name: value for name, value in part.items() if name != _URI_FIELD[kind]}
        parent[key] = {**found.spec, **own}
        resolved.resolved_references[place] = format_reference(kind, found.name, found.version)
    if faults:
        raise FieldErrors(*faults)
    if resolved.resolved_references:
        try:
            resolved.request = cast(Request, type(request).model_validate(fields))
        except ValidationError as error:
            raise RequestValidationError(
                [{**fault, "loc": ("body", *fault["loc"])} for fault in error.errors()], body=fields
            ) from None
    return resolved


def resolve_filters(session: Session, filters: JobFilters) -> JobFilters:
    """Replaces references in filters by the URIs that they refer to. An unknown reference is unchanged and matches no
    job.
    """
    changed: dict[str, Any] = {}
    for kind, uri_field in _URI_FIELD.items():
        given = getattr(filters, kind)
        reference = None if given is None else parse_reference(given)
        if reference is not None and reference.kind == kind:
            try:
                changed[kind] = _find(session, reference).spec[uri_field]
            except NotFound:
                continue
    return replace(filters, **changed)


def _find(session: Session, reference: Reference) -> RegistryEntry:
    return registry.get(session, reference.kind, reference.name, reference.version)
