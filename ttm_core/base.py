"""The base of every spec: strict about names, numbers and change."""

from pydantic import BaseModel, ConfigDict


class Spec(BaseModel):
    """A part of a run's description: unknown fields and non-finite numbers are errors, and it never changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
