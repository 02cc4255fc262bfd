"""Numbers that are told as numbers: the base of what comes as JSON or YAML."""

from typing import Any

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticKnownError
from pydantic_core.core_schema import no_info_before_validator_function


def _a_number(value: Any) -> Any:
    if isinstance(value, bool | str):
        raise PydanticKnownError("int_type")
    return value


def _tighten(schema: Any) -> None:
    """Make all numbers and truths below a node of a core schema exact, in place. Models below it have done so."""
    match schema:
        case list():
            for part in schema:
                _tighten(part)
        case {"type": "int"}:
            # pydantic's own strictness would refuse 10.0, which JSON does not tell from 10.
            inner = dict(schema)
            schema.clear()
            schema.update(no_info_before_validator_function(_a_number, inner))
        case {"type": "float" | "bool"}:
            schema["strict"] = True
        case {"type": "function-before", "function": {"function": done}} if done is _a_number:
            pass
        case {"type": "model-fields", "fields": parts} | {"type": "tagged-union", "choices": parts}:
            _tighten(list(parts.values()))
        case {"type": kind} if kind != "model":
            for below in ("schema", "items_schema", "choices"):
                _tighten(schema.get(below))


class Exact(BaseModel):
    """Unknown fields are errors, and so is another type: neither `true` nor `"10"` is a number, nor 1 a truth. Every
    integer is a number, and 10.0 an integer.
    """

    model_config = ConfigDict(extra="forbid")

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema = handler(source)
        model: Any = handler.resolve_ref_schema(schema)
        while model["type"] != "model":
            model = model["schema"]
        _tighten(model["schema"])
        return schema
