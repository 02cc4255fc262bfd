"""Parameters that may change over the epochs. Torch-free.

A number is constant. A ramp is a function of the epoch, so that resuming needs no state.
"""

import math
from typing import Annotated, Any, Literal, assert_never

from pydantic import AfterValidator, Discriminator, Field, Tag

from ttm_core.spec.base import Spec

Number = Annotated[float, Field(ge=0, le=1e6)]


class LinearRamp(Spec):
    """Linear from `first` at the start to `last` at the end."""

    kind: Literal["linear"] = "linear"
    first: Number
    last: Number


class CosineRamp(Spec):
    """Half a cosine from `first` at the start to `last` at the end."""

    kind: Literal["cosine"] = "cosine"
    first: Number
    last: Number


class WarmUp(Spec):
    """Linear from `first` to `last` over `epochs` epochs, then constant."""

    kind: Literal["warmup"] = "warmup"
    epochs: Annotated[float, Field(gt=0, le=100_000)]
    first: Number = 0.0
    last: Number


Ramp = LinearRamp | CosineRamp | WarmUp


def _variant(value: Any) -> str:
    if isinstance(value, Ramp):
        return value.kind
    return str(value.get("kind")) if isinstance(value, dict) else "number"


Scheduled = Annotated[
    Annotated[Number, Tag("number")]
    | Annotated[LinearRamp, Tag("linear")]
    | Annotated[CosineRamp, Tag("cosine")]
    | Annotated[WarmUp, Tag("warmup")],
    Discriminator(
        _variant,
        custom_error_type="schedule",
        custom_error_message="must be a number or a ramp of kind 'linear', 'cosine' or 'warmup'",
    ),
]
"""A number of at least 0, or a ramp."""


def _above_zero(value: float | Ramp) -> float | Ramp:
    if (value if isinstance(value, float) else min(value.first, value.last)) <= 0:
        raise ValueError("must be greater than 0 at every step")
    return value


PositiveScheduled = Annotated[Scheduled, AfterValidator(_above_zero)]
"""A number or ramp that is greater than 0 at every step."""


def at(value: float | Ramp, epoch: float, epochs: int) -> float:
    """The value after `epoch` of `epochs`, which may be fractional."""
    match value:
        case float():
            return value
        case LinearRamp(first=first, last=last):
            return first + (last - first) * min(epoch / epochs, 1.0)
        case CosineRamp(first=first, last=last):
            return last + (first - last) * (1 + math.cos(math.pi * min(epoch / epochs, 1.0))) / 2
        case WarmUp(epochs=warmup, first=first, last=last):
            return first + (last - first) * min(epoch / warmup, 1.0)
        case _:
            assert_never(value)
