"""The base of every spec: strict about names, numbers and change."""

from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator


class Spec(BaseModel):
    """A part of a run's description: unknown fields and non-finite numbers are errors, and it never changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="after")
    @classmethod
    def _no_nul(cls, value: Any) -> Any:
        """PostgreSQL keeps no NUL in text, and no name or path has one."""
        if any(isinstance(text, str) and "\0" in text for text in (value if isinstance(value, list) else [value])):
            raise ValueError("text must not hold a NUL character")
        return value


def by_name(data: Any, tag: str) -> Any:
    """A bare string stands for the variant of that name with its defaults."""
    return {tag: data} if isinstance(data, str) else data
