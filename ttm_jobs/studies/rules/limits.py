"""Checks of candidates against the limits of a study."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from ttm_jobs.studies.facts import PRECISION_NAMES, Candidate, Goal, Limits, Screen, Variant

LimitName = Literal["retention", "accuracy", "bytes", "latency_ms", "macs", "parameters"]
_FLOORS = ("retention", "accuracy")
# Far less than one image changes an accuracy by. In floats, (18 / 96) / (20 / 96) is less than 0.9.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Miss:
    """A limit that a candidate does not meet. `value` is None if it could not be measured."""

    limit: LimitName
    allowed: float
    value: float | None

    @property
    def excess(self) -> float:
        """By which share of the limit the value misses it; infinite for an unknown value."""
        if self.value is None:
            return float("inf")
        difference = self.allowed - self.value if self.limit in _FLOORS else self.value - self.allowed
        return difference / self.allowed

    def __str__(self) -> str:
        noun, written = _WORDS[self.limit]
        if self.value is None:
            return f"its {noun} is unknown"
        # The fewest digits with which the two differ: a limit can be missed by less than a unit in the last place.
        texts = ([written(number, digits) for number in (self.value, self.allowed)] for digits in range(_MOST_DIGITS))
        value, allowed = next((pair for pair in texts if pair[0] != pair[1]), [str(self.value), str(self.allowed)])
        where = "below" if self.limit in _FLOORS else "above"
        return f"its {noun} of {value} is {where} the limit of {allowed}"


_MOST_DIGITS = 16


def _count(unit: str) -> Callable[[float, int], str]:
    return lambda number, digits: f"{number:,.{digits}f} {unit}"


def _percent(number: float, digits: int) -> str:
    return f"{number:.{2 + digits}%}"


# The noun of each limit, and how a number is written with a number of further digits.
_WORDS: dict[LimitName, tuple[str, Callable[[float, int], str]]] = {
    "bytes": ("size", _count("bytes")),
    "latency_ms": ("latency", lambda number, digits: f"{number:.{4 + digits}g} ms"),
    "macs": ("cost", _count("MACs")),
    "parameters": ("size", _count("parameters")),
    "accuracy": ("accuracy", _percent),
    "retention": ("retention", _percent),
}


@dataclass(frozen=True)
class NearMiss:
    """A candidate that misses limits, with the file that misses them least."""

    candidate: int
    variant: Variant
    misses: Sequence[Miss]


def allowed_variants(limits: Limits, screen: Screen) -> list[Variant]:
    """The files of the precision that the limits name."""
    return [each for each in screen.variants if limits.precision in ("any", each.precision)]


def cost_misses(limits: Limits, screen: Screen, variant: Variant) -> list[Miss]:
    """The cost limits that a file of a candidate does not meet."""
    values: list[tuple[LimitName, float | None, float | None]] = [
        ("bytes", limits.bytes, variant.bytes),
        ("latency_ms", limits.latency_ms, variant.latency_ms),
        ("macs", limits.macs, screen.macs),
        ("parameters", limits.parameters, screen.parameters),
    ]
    misses = [
        Miss(name, allowed, value)
        for name, allowed, value in values
        if allowed is not None and (value is None or value > allowed)
    ]
    # A device does not measure files that miss other limits.
    others = [miss for miss in misses if miss.limit != "latency_ms"]
    return others if others and variant.latency_ms is None else misses


def accuracy_misses(limits: Limits, accuracy: float, teacher: float | None) -> list[Miss]:
    """The accuracy limits that a student with this validation accuracy does not meet."""
    misses = []
    if limits.accuracy is not None and accuracy < limits.accuracy - _ROUNDING:
        misses.append(Miss("accuracy", limits.accuracy, accuracy))
    if limits.retention is not None:
        retention = accuracy / teacher if teacher else None
        if retention is None or retention < limits.retention - _ROUNDING:
            misses.append(Miss("retention", limits.retention, retention))
    return misses


def size_misses(limits: Limits, size: int) -> list[Miss]:
    """The limit on bytes, if the exported file of a trained student does not meet it."""
    return [Miss("bytes", limits.bytes, size)] if limits.bytes is not None and size > limits.bytes else []


def latency_misses(limits: Limits, latency_ms: float | None) -> list[Miss]:
    """The limit on latency, if the exported file of a trained student does not meet it or its latency is unknown."""
    if limits.latency_ms is None or (latency_ms is not None and latency_ms <= limits.latency_ms):
        return []
    return [Miss("latency_ms", limits.latency_ms, latency_ms)]


def fitting_variants(limits: Limits, screen: Screen) -> list[Variant]:
    """The files that meet all cost limits."""
    return [each for each in allowed_variants(limits, screen) if not cost_misses(limits, screen, each)]


def size(limits: Limits, screen: Screen) -> int:
    """The size in bytes by which a fitting candidate is compared: that of its smallest fitting file."""
    return min(each.bytes for each in fitting_variants(limits, screen))


def cost(goal: Goal, variant: Variant, screen: Screen) -> tuple[float, float]:
    """The cost to minimize: latency for `fastest` (multiply-accumulates if it was not measured), else bytes."""
    speed = variant.latency_ms if variant.latency_ms is not None else float(screen.macs or screen.parameters)
    return (speed, float(variant.bytes)) if goal == "fastest" else (float(variant.bytes), speed)


def rejection(limits: Limits, screen: Screen) -> str | None:
    """Why a screened candidate cannot meet the limits; None if it may."""
    if screen.error is not None:
        return screen.error
    if fitting_variants(limits, screen):
        return None
    closest = _closest(limits, screen)
    if closest is None:
        return f"it has no {PRECISION_NAMES.get(limits.precision, 'ONNX')} file"
    variant, misses = closest
    return f"{PRECISION_NAMES[variant.precision]}: " + ", ".join(str(miss) for miss in misses)


def nearest_misses(limits: Limits, candidates: Sequence[Candidate], count: int = 3) -> list[NearMiss]:
    """The candidates that miss the cost limits least, one per student, the nearest first."""
    found: dict[str, NearMiss] = {}
    for candidate in candidates:
        if candidate.screen is not None and candidate.student not in found:
            closest = _closest(limits, candidate.screen)
            if closest is not None:
                found[candidate.student] = NearMiss(candidate.number, *closest)
    return sorted(found.values(), key=lambda each: (_worst(each.misses), each.candidate))[:count]


def _closest(limits: Limits, screen: Screen) -> tuple[Variant, list[Miss]] | None:
    checked = [(each, cost_misses(limits, screen, each)) for each in allowed_variants(limits, screen)]
    return min(checked, key=lambda pair: _worst(pair[1]), default=None)


def _worst(misses: Sequence[Miss]) -> float:
    return max((miss.excess for miss in misses), default=0.0)
