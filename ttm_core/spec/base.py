"""The base classes of specs and request bodies: no unknown fields, no type coercion, immutable."""

import re
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from ttm_core.spec.names import is_invisible

_PART = re.compile(r"-0*(\d+)-of-0*(\d+)\.\w+$")


def _check_whole(uri: str) -> str:
    part = _PART.search(uri)
    if part is not None and part[2] != "1":
        raise ValueError(f"the file is part {part[1]} of {part[2]} of a checkpoint. Join the parts to one state dict")
    return uri


Uri = Annotated[str, Field(min_length=1, max_length=2048)]
CheckpointUri = Annotated[Uri, AfterValidator(_check_whole)]
CheckpointKey = Annotated[str, Field(min_length=1, max_length=300, pattern=r"^[^\x00-\x1f\x7f]*$")]
ArchitectureName = Annotated[str, Field(min_length=1, max_length=128)]


def _check_visible(text: str) -> str:
    if is_invisible(text):
        raise ValueError("a name must contain a visible character")
    return text


RunName = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_check_visible)]


class StrictModel(BaseModel):
    """Refuses unknown fields and values of another type, such as `true` or `"10"` for a number or 1 for a boolean.

    Numbers follow JSON, which does not distinguish 10.0 from 10: both are valid integers and valid floats. A field
    with a Python type that JSON lacks (a tuple, a datetime) sets `strict=False`.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _integral_floats_are_integers(cls, data: Any) -> Any:
        # pydantic's strict mode refuses 10.0 for an integer, but accepts 10 for a float.
        return {name: _integral(value) for name, value in data.items()} if isinstance(data, dict) else data


def _integral(value: Any) -> Any:
    if isinstance(value, list):
        return [_integral(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


class Spec(StrictModel):
    """A part of the description of a run. Instances are immutable; NaN and Infinity are refused."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="after")
    @classmethod
    def _no_nul(cls, value: Any) -> Any:
        """PostgreSQL cannot store NUL in text, and no name or path contains it."""
        if any(isinstance(text, str) and "\0" in text for text in (value if isinstance(value, list) else [value])):
            raise ValueError("text must not contain a NUL character")
        return value


def first_fault(error: ValidationError) -> str:
    """The first invalid field, with its path, and what is wrong with it."""
    first = error.errors()[0]
    path = ".".join(str(part) for part in first["loc"])
    reason = first["msg"].removeprefix("Value error, ")
    return f"{path}: {reason}" if path else reason


def by_name(tag: str, variants: Any) -> BeforeValidator:
    """Accepts a string as short for the variant with that name and default fields."""
    return BeforeValidator(
        lambda data: {tag: data} if isinstance(data, str) else data, json_schema_input_type=variants | str
    )


def or_short(forms: Any) -> BeforeValidator:
    """Adds the short forms that a model accepts to the JSON schema of a field."""
    return BeforeValidator(lambda data: data, json_schema_input_type=forms)
