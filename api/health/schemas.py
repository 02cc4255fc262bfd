"""Schemas of health checks."""

from typing import Literal

from pydantic import BaseModel, Field

Status = Literal["ok", "degraded", "unavailable"]


class Liveness(BaseModel):
    """The process responds."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """The state of the service's dependencies."""

    status: Status = Field(
        description="`ok`; `degraded`: jobs are accepted but may stay queued; `unavailable`: requests fail."
    )
    checks: dict[str, Status] = Field(description="The state of each dependency.")
