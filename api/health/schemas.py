"""What a health check answers."""

from typing import Literal

from pydantic import BaseModel, Field

Status = Literal["ok", "degraded", "unavailable"]


class Liveness(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """Whether the parts that the service stands on answer."""

    status: Status = Field(description="unavailable: requests fail; degraded: jobs are accepted but may wait.")
    checks: dict[str, Status]
