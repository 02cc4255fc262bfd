"""The fields of the job form, and the pages of architectures and recipes."""

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

Search = Annotated[str, Query(max_length=128)]
_ROWS = 100


@router.get("/ui/architectures")
def architectures_page(
    request: Request, q: Search = "", family: Search = "", cursor: CursorParameter = None
) -> HTMLResponse:
    """The catalogue of architectures, with parameters and MACs."""
    return page(
        "architectures.html",
        page=architectures.page(query=q, family=family or None, limit=_ROWS, cursor=cursor),
        q=q,
        family=family,
        query=Address(request.url, request.query_params.multi_items()),
    )


@router.get("/ui/recipes")
def recipes_page(request: Request, q: Search = "", cursor: CursorParameter = None) -> HTMLResponse:
    """Recipes: published runs that a job can start from."""
    return page(
        "recipes.html",
        page=recipes.page(query=q, limit=_ROWS, cursor=cursor),
        q=q,
        query=Address(request.url, request.query_params.multi_items()),
    )


Schema = dict[str, Any]


@dataclass(frozen=True)
class Field:
    """An input of the form. `kind` is number, integer, boolean, choice or text; an empty input means `default`."""

    pointer: str
    title: str
    kind: str
    default: Any
    description: str | None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Method:
    """A distillation method and its own fields."""

    kind: str
    description: str
    needs_teacher: bool
    fields: tuple[Field, ...]


@cache
def methods() -> tuple[Method, ...]:
    """Every method, the default first, then in schema order."""
    schema = _schema()
    union = next(part for part in schema["properties"]["method"]["anyOf"] if "discriminator" in part)
    found = []
    for variant in union["oneOf"]:
        definition = _resolved(variant)
        kind = definition["properties"]["kind"]["const"]
        description = str(definition.get("description", "")).split("\n\n")[0]
        found.append(Method(kind, description, kind != "ce", _fields(definition, "/method")))
    return tuple(sorted(found, key=lambda method: method.kind != "wttm"))


@cache
def training() -> tuple[Field, ...]:
    """The scalar fields of `training`."""
    return _fields(_resolved(_schema()["properties"]["training"]), "/training")


@cache
def scheduling() -> tuple[Field, ...]:
    """The fields that control scheduling."""
    names = ("priority", "max_attempts")
    return tuple(_field(name, _schema()["properties"][name], f"/{name}") for name in names)  # type: ignore[misc]


@cache
def _schema() -> Schema:
    return JobRequest.model_json_schema()


def _fields(definition: Schema, base: str) -> tuple[Field, ...]:
    made = (_field(name, schema, f"{base}/{name}") for name, schema in definition["properties"].items())
    return tuple(field for field in made if field is not None)


def _field(name: str, schema: Schema, at: str) -> Field | None:
    """None for a field with parts of its own: those are entered as JSON."""
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
