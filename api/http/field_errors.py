"""Converts pydantic's validation errors to field errors with a JSON pointer and suggestions for misspelled names."""

import difflib
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from pydantic import TypeAdapter

from api.http.problems import FieldError

Schema = dict[str, Any]


def pointer(path: Sequence[str | int]) -> str:
    """The JSON pointer (RFC 6901) of a path. Empty for the whole document."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def field_error(error: dict[str, Any], body: Any, model: Any = None) -> FieldError:
    """The field error for one of pydantic's errors. `model` is the type of the request body."""
    where, *path = error["loc"]
    if where != "body":
        return FieldError(
            pointer=pointer(path), detail=_detail(error, ()), where=where if where in ("query", "path") else "header"
        )
    kept = _without_tags(path, body, error["type"])
    names = _field_names(model, kept[:-1], body) if error["type"] == "extra_forbidden" and model is not None else ()
    if error["type"] in ("union_tag_invalid", "union_tag_not_found") and isinstance(_value_at(body, kept), dict):
        kept = [*kept, error["ctx"]["discriminator"].strip("'")]
    return FieldError(pointer=pointer(kept), detail=_detail(error, names), where="body")


def summary(first: FieldError, *, others: int) -> str:
    """One sentence for the first error, and the number of further errors."""
    name = first.pointer.removeprefix("/").replace("/", ".").replace("~1", "/").replace("~0", "~")
    detail = first.detail
    if name and not detail.startswith("`"):
        if detail[1:2].islower():
            detail = detail[0].lower() + detail[1:]
        detail = f"`{name}`: {detail}"
    if detail[-1] not in ".?!":
        detail += "."
    return detail if not others else f"{detail} ({others} more {'error' if others == 1 else 'errors'}.)"


def _detail(error: dict[str, Any], names: Sequence[str]) -> str:
    match error["type"]:
        case "extra_forbidden":
            return f"No such field.{_suggestion(str(error['loc'][-1]), names, quote='`')}"
        case "literal_error" | "enum":
            return _not_one_of(error["input"], error["ctx"]["expected"])
        case "union_tag_not_found":
            return "Field required"
        case "union_tag_invalid":
            return _not_one_of(error["ctx"]["tag"], error["ctx"]["expected_tags"])
    detail: str = error["msg"].removeprefix("Value error, ")
    return detail[:1].upper() + detail[1:]


def _not_one_of(value: Any, expected: str) -> str:
    choices = [choice.strip().strip("'") for choice in expected.replace(" or ", ", ").split(",")]
    written = repr(value) if len(repr(value)) <= 100 else "the value"
    listed = ", ".join(repr(choice) for choice in choices)
    return (
        f"{written} is not one of {listed}.{_suggestion(value, choices)}"
        if isinstance(value, str)
        else (f"{written} is not one of {listed}.")
    )


def _suggestion(name: str, choices: Sequence[str], quote: str = "'") -> str:
    near = difflib.get_close_matches(name, choices, n=1, cutoff=0.6)
    return f" Did you mean {quote}{near[0]}{quote}?" if near else ""


def _value_at(body: Any, path: Sequence[str | int]) -> Any:
    for part in path:
        try:
            body = body[part]
        except (TypeError, LookupError):
            return None
    return body


@cache
def _schema(model: Any) -> Schema:
    return TypeAdapter(model).json_schema()


def _field_names(model: Any, path: Sequence[str | int], body: Any) -> list[str]:
    """The names of the fields that the model has at a path of the body."""
    root = _schema(model)
    found = list(_objects(root, root, body))
    for part in path:
        body = _value_at(body, [part])
        found = [
            below
            for schema in found
            for child in [schema["properties"].get(part) if isinstance(part, str) else schema.get("items")]
            if child is not None
            for below in _objects(root, child, body)
        ]
    return list(dict.fromkeys(name for schema in found for name in schema.get("properties", ())))


def _objects(root: Schema, schema: Schema, value: Any) -> Iterator[Schema]:
    """The object and array schemas that a schema refers to. A discriminator in the value selects one of a union."""
    if "$ref" in schema:
        yield from _objects(root, root["$defs"][schema["$ref"].rpartition("/")[2]], value)
    elif "discriminator" in schema and isinstance(value, dict):
        name = schema["discriminator"]["propertyName"]
        reference = schema["discriminator"]["mapping"].get(value.get(name))
        variants = schema["oneOf"] if reference is None else [{"$ref": reference}]
        for variant in variants:
            yield from _objects(root, variant, value)
    elif "anyOf" in schema or "oneOf" in schema:
        for variant in schema.get("anyOf") or schema["oneOf"]:
            yield from _objects(root, variant, value)
    elif schema.get("type") == "array":
        yield {"properties": {}, "items": schema.get("items", {})}
    elif "properties" in schema:
        yield schema


def _without_tags(path: Sequence[str | int], body: Any, kind: str) -> list[str | int]:
    """The path inside the body. Pydantic's path also has the tags of union variants, which are not fields."""
    kept: list[str | int] = []
    at = body
    for index, part in enumerate(path):
        match at, part:
            case dict(), str() if part in at:
                at = at[part]
            case list(), int() if part < len(at):
                at = at[part]
            case dict(), str() if index == len(path) - 1 and kind == "missing":
                at = None
            case dict() | list(), str():
                continue
            case _:
                # A string that is the short form of an object: an error inside the object belongs to the string.
                break
        kept.append(part)
    return kept
