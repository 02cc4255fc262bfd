"""The base of every spec: strict about names, numbers and change."""

from typing import Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, GetCoreSchemaHandler, field_validator
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


class StrictModel(BaseModel):
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


class Spec(StrictModel):
    """A part of a run's description: unknown fields and non-finite numbers are errors, and it never changes."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="after")
    @classmethod
    def _no_nul(cls, value: Any) -> Any:
        """PostgreSQL keeps no NUL in text, and no name or path has one."""
        if any(isinstance(text, str) and "\0" in text for text in (value if isinstance(value, list) else [value])):
            raise ValueError("text must not hold a NUL character")
        return value


def by_name(tag: str, variants: Any) -> BeforeValidator:
    """A bare string stands for the variant of that name with its defaults."""
    return BeforeValidator(
        lambda data: {tag: data} if isinstance(data, str) else data, json_schema_input_type=variants | str
    )


def or_short(forms: Any) -> BeforeValidator:
    """Has the schema of a field tell of the short forms that its model takes itself."""
    return BeforeValidator(lambda data: data, json_schema_input_type=forms)
