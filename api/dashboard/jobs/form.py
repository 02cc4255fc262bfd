"""Pages of what a job can be made from: architectures and recipes."""

from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import HTMLResponse

from api.architectures import service as architectures
from api.dashboard.jobs.table import Query as Address
from api.dashboard.pages import page
from api.http.pagination import CursorParameter
from api.jobs.schemas import JobRequest
from api.recipes import service as recipes

router = APIRouter()

Words = Annotated[str, Query(max_length=128)]
_ROWS = 100


@router.get("/ui/architectures")
def architectures_page(
    request: Request, q: Words = "", family: Words = "", cursor: CursorParameter = None
) -> HTMLResponse:
    """Every model, with its size and cost."""
    return page(
        "architectures.html",
        page=architectures.page(query=q, family=family or None, limit=_ROWS, cursor=cursor),
        q=q,
        family=family,
        query=Address(request.url, request.query_params.multi_items()),
    )


@router.get("/ui/recipes")
def recipes_page(request: Request, q: Words = "", cursor: CursorParameter = None) -> HTMLResponse:
    """Published runs to start from."""
    return page(
        "recipes.html",
        page=recipes.page(query=q, limit=_ROWS, cursor=cursor),
        q=q,
        query=Address(request.url, request.query_params.multi_items()),
    )


Schema = dict[str, Any]


@dataclass(frozen=True)
class Field:
    """One input. `kind` is number, integer, boolean, choice or text; `default` is what an empty one stands for."""

    pointer: str
    title: str
    kind: str
    default: Any
    description: str | None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Method:
    """A method of distillation and the fields that only it has."""

    kind: str
    description: str
    needs_teacher: bool
    fields: tuple[Field, ...]


@cache
def methods() -> tuple[Method, ...]:
    """Every method in the order of the schema, the default one first."""
    schema = _schema()
    whole = next(part for part in schema["properties"]["method"]["anyOf"] if "discriminator" in part)
    found = []
    for variant in whole["oneOf"]:
        definition = _resolved(variant)
        kind = definition["properties"]["kind"]["const"]
        description = str(definition.get("description", "")).split("\n\n")[0]
        found.append(Method(kind, description, kind != "ce", _fields(definition, "/method")))
    return tuple(sorted(found, key=lambda method: method.kind != "wttm"))


@cache
def training() -> tuple[Field, ...]:
    """The simple fields of `training`."""
    return _fields(_resolved(_schema()["properties"]["training"]), "/training")


@cache
def handling() -> tuple[Field, ...]:
    """How the service should treat the job."""
    names = ("priority", "max_attempts")
    return tuple(_field(name, _schema()["properties"][name], f"/{name}") for name in names)  # type: ignore[misc]


@cache
def _schema() -> Schema:
    return JobRequest.model_json_schema()


def _fields(definition: Schema, base: str) -> tuple[Field, ...]:
    made = (_field(name, schema, f"{base}/{name}") for name, schema in definition["properties"].items())
    return tuple(field for field in made if field is not None)


def _field(name: str, schema: Schema, at: str) -> Field | None:
    """None for what has parts of its own: such a field is said in the JSON of the form."""
    if "const" in schema:
        return None
    variants = [_resolved(part) for part in schema.get("anyOf") or schema.get("oneOf") or [schema]]
    first = variants[0]
    if first.get("type") not in ("number", "integer", "boolean", "string"):
        return None
    of_type = str(first["type"])
    choices = tuple(str(choice) for choice in first.get("enum", ()))
    kind = "choice" if choices else {"string": "text"}.get(of_type, of_type)
    return Field(at, name.replace("_", " "), kind, schema.get("default"), schema.get("description"), choices)


def _resolved(schema: Schema) -> Schema:
    name = schema.get("$ref", "").rpartition("/")[2]
    return _schema()["$defs"][name] if name else schema
