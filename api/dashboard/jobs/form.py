"""The fields of the job form, read from the request schema."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Self

from api.dashboard.jobs.detail import without_none
from api.jobs.schemas import JobOut, JobRequest
from ttm_core.spec.normalization import PRESETS
from ttm_jobs.models import Job, Study
from ttm_jobs.repositories.jobs.crud import DEFAULT_PRIORITY
from ttm_jobs.settings import Settings

Schema = dict[str, Any]


@dataclass(frozen=True)
class Field:
    """An input of the form. `kind` is number, integer, boolean, choice or text; an empty input means `default`. The
    `choices` of a boolean are true, false and other texts that the field accepts.
    """

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


# Common normalizations of teachers, as the JSON that the spec takes.
NORMALIZATIONS = {title: preset.model_dump() for title, preset in PRESETS.items()} | {
    "none: pixels in [0, 1]": {"mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]}
}
_ABBREVIATIONS = ("ce", "kd", "tf32")
_MODEL_FIELDS = ("/name", "/teacher/checkpoint", "/teacher/architecture", "/student/architecture", "/dataset/uri")
_OPTIMIZER_FIELDS = ("/training/optimizer/learning_rate",)


@dataclass(frozen=True)
class Start:
    """What the form shows at first: values by JSON pointer, and the remaining fields as JSON."""

    values: Mapping[str, Any] = field(default_factory=dict)
    rest: str = ""

    @classmethod
    def of(cls, values: Mapping[str, Any], rest: Mapping[str, Any]) -> Self:
        """Values, and the fields that have no input."""
        return cls(values, json.dumps(rest, indent=2, ensure_ascii=False) if rest else "")


def start_from(job: JobOut, scheduling_options: Mapping[str, Any]) -> Start:
    """The form of a job that is submitted again: each value in its field, all others as JSON."""
    rest = without_none(job.spec) | ({"tags": job.tags} if job.tags else {}) | dict(scheduling_options)
    kind = (rest.get("method") or {}).get("kind")
    pointers = [*_MODEL_FIELDS, "/method/kind", *_OPTIMIZER_FIELDS]
    pointers += [each.pointer for method in methods() if method.kind == kind for each in method.fields]
    pointers += [each.pointer for each in (*training(), *scheduling())]
    values = {"/name": job.name} if job.name else {}
    for pointer in pointers:
        value = take(rest, pointer)
        if isinstance(value, bool):
            value = "true" if value else "false"
        if value is not None:
            values[pointer] = value
    return Start.of(values, rest)


def scheduling_options(row: Job | Study, settings: Settings) -> dict[str, Any]:
    """The fields of a request that differ from the defaults and are not part of its spec. The deadline has passed, or
    was meant for the first one.
    """
    defaults = {"priority": DEFAULT_PRIORITY, "queue": settings.queues[0], "max_attempts": settings.max_attempts}
    options = {
        "priority": row.priority,
        "queue": row.queue,
        "device": row.device_kind,
        "device_memory_bytes": row.device_memory_bytes,
        "max_attempts": row.max_attempts,
    }
    return {name: value for name, value in options.items() if value is not None and value != defaults.get(name)}


def take(spec: dict[str, Any], pointer: str) -> Any:
    """Removes and returns a scalar of a spec, and the objects that become empty. None if there is none."""
    return _take(spec, pointer.split("/")[1:])


def _take(spec: dict[str, Any], parts: Sequence[str]) -> Any:
    name, *further = parts
    part = spec.get(name)
    if not further:
        return None if isinstance(part, dict | list) else spec.pop(name, None)
    if not isinstance(part, dict):
        return None
    value = _take(part, further)
    if not part:
        del spec[name]
    return value


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
    types = [variant.get("type") for variant in variants if variant.get("type") != "null"]
    if types[0] not in ("number", "integer", "boolean", "string"):
        return None
    values = [str(value) for variant in variants for value in variant.get("enum") or [variant.get("const")] if value]
    if "boolean" in types:
        kind, choices = "boolean", (*values, "true", "false")
    elif types[0] == "string" and values:
        kind, choices = "choice", tuple(values)
    else:
        kind, choices = "text" if types[0] == "string" else str(types[0]), ()
    return Field(at, _title(name), kind, schema.get("default"), schema.get("description"), choices)


def _title(name: str) -> str:
    """The label of a field: `ce_weight` is "CE weight"."""
    first, *others = name.split("_")
    return " ".join([first.upper() if first in _ABBREVIATIONS else first.capitalize(), *others])


def _resolved(schema: Schema) -> Schema:
    name = schema.get("$ref", "").rpartition("/")[2]
    return _schema()["$defs"][name] if name else schema
