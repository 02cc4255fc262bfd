"""The base of every spec: strict about names, numbers and change."""

from typing import Any

from pydantic import BeforeValidator, ConfigDict, field_validator

from ttm_core.exact import Exact


class Spec(Exact):
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
