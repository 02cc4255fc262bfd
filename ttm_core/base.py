"""The base of every spec: strict about names, numbers and change."""

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator


class Spec(BaseModel):
    """A part of a run's description: unknown fields and non-finite numbers are errors, and it never changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _no_nul(cls, data: Any) -> Any:
        """PostgreSQL keeps no NUL in text, and no name or path has one."""
        told = data.values() if isinstance(data, dict) else [data]
        for value in told:
            if any(isinstance(text, str) and "\0" in text for text in (value if isinstance(value, list) else [value])):
                raise ValueError("text must not hold a NUL character")
        return data


def by_name(data: Any, tag: str) -> Any:
    """A bare string stands for the variant of that name with its defaults."""
    return {tag: data} if isinstance(data, str) else data
