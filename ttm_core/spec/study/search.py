"""Search spaces of a study: values or ranges of spec fields, and the combinations that a study tries."""

import math
import random
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from ttm_core.spec.base import Spec

Value = str | int | float | bool | None
Bounds = Annotated[list[float], Field(min_length=2, max_length=2)]


class Range(Spec):
    """A continuous range: `{"log": [low, high]}` or `{"linear": [low, high]}`."""

    log: Bounds | None = Field(None, description="Bounds of values drawn uniformly on a logarithmic scale.")
    linear: Bounds | None = Field(None, description="Bounds of values drawn uniformly.")

    @model_validator(mode="after")
    def _one_scale(self) -> Self:
        if (self.log is None) == (self.linear is None):
            raise ValueError("set either log or linear")
        low, high = self.log or self.linear or (0.0, 0.0)
        if low >= high:
            raise ValueError(f"the lower bound {low:g} must be less than the upper bound {high:g}")
        if self.log is not None and low <= 0:
            raise ValueError("the bounds of a logarithmic range must be greater than 0")
        return self

    def at(self, position: float) -> float:
        """The value at a position in [0, 1], rounded to four significant digits."""
        if self.log is not None:
            low, high = (math.log(bound) for bound in self.log)
            return float(f"{math.exp(low + position * (high - low)):.4g}")
        low, high = self.linear or (0.0, 0.0)
        return float(f"{low + position * (high - low):.4g}")


def _distinct(values: list[Value]) -> list[Value]:
    """Equal values would train equal candidates."""
    found: dict[tuple[bool, Value], Value] = {}
    for value in values:
        found.setdefault((isinstance(value, bool), value), value)  # True equals 1
    return list(found.values())


Values = Annotated[list[Value], Field(min_length=1, max_length=100), AfterValidator(_distinct)]
Dimension = Annotated[
    Annotated[Values, Tag("values")] | Annotated[Range, Tag("range")],
    Discriminator(lambda data: "values" if isinstance(data, list) else "range"),
]
FieldPath = Annotated[str, Field(max_length=100, pattern=r"^(method|training)(\.[a-z_]+)+$")]
SearchSpace = Annotated[dict[FieldPath, Dimension], Field(max_length=10)]

# Fields that all trials of a study share, or that the study sets.
SHARED = frozenset(
    f"training.{name}"
    for name in (
        *("epochs", "seed", "view_seed", "views", "teacher_logits", "stored_as", "teacher_precision", "tf32"),
        *("augmentation", "early_stopping_patience", "checkpoint_seconds", "threads", "devices"),
    )
)


def size(space: Mapping[str, Any]) -> int | None:
    """The number of combinations of a search space; None if it has a continuous range."""
    if any(isinstance(dimension, Range) for dimension in space.values()):
        return None
    return math.prod(len(dimension) for dimension in space.values())


def combinations(space: Mapping[str, Any], count: int, seed: int) -> Sequence[dict[str, Value]]:
    """Up to `count` different combinations of values, by field path.

    A space of lists is enumerated if it has at most `count` combinations. Else each is drawn from `seed`: ranges are
    divided into `count` parts of equal width, and each part is drawn from once (Latin hypercube sampling).
    """
    total = size(space)
    if total is not None and total <= count:
        return [dict(zip(space, values, strict=True)) for values in product(*space.values())]
    columns = {name: _column(dimension, count, f"{seed}:{name}") for name, dimension in space.items()}
    drawn = [{name: column[index] for name, column in columns.items()} for index in range(count)]
    return [each for index, each in enumerate(drawn) if each not in drawn[:index]]


def _column(dimension: Any, count: int, seed: str) -> list[Value]:
    # Seeded by text, which Python hashes with SHA-512: equal on every machine.
    source = random.Random(seed)
    if isinstance(dimension, Range):
        column: list[Value] = [dimension.at((part + source.random()) / count) for part in range(count)]
    else:
        column = [dimension[index % len(dimension)] for index in range(count)]
    source.shuffle(column)
    return column
