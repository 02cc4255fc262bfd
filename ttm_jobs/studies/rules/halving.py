"""Successive halving (Jamieson and Talwalkar 2016, arXiv 1502.07943) that keeps the size-accuracy front."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

ETA = 3
_FINALISTS = 3


@dataclass(frozen=True)
class Entry:
    """A candidate with its size in bytes and its validation accuracy at the end of a rung."""

    number: int
    size: int
    accuracy: float


@dataclass(frozen=True)
class Schedule:
    """The last epochs of the rungs, and the most candidates that may continue after each: to the next rung, or to the
    final.
    """

    epochs: Sequence[int]
    most: Sequence[int]


def schedule(candidates: int, epochs: int) -> Schedule:
    """The rungs for a number of candidates and the length of a full run in epochs.

    A rung multiplies the epochs by three. No rung may cost more epochs than the first one, so that 27 candidates cost
    less than three full runs before the final.
    """
    count = int(math.log(candidates, ETA) + 1e-9) if candidates > 1 else 0
    lengths = (max(round(epochs / ETA**step), 1) for step in range(count, 0, -1))
    ends = [end for end in dict.fromkeys(lengths) if end < epochs]
    most = [
        max(candidates * ends[0] // (following - end), math.ceil(candidates / ETA ** (rung + 1)))
        for rung, (end, following) in enumerate(pairwise(ends))
    ]
    return Schedule(ends, [*most, _FINALISTS] if ends else [])


def promote(entries: Sequence[Entry], most: int) -> list[int]:
    """The numbers of the candidates that continue, best first: the best third by accuracy and the front.

    Every point of the size-accuracy front continues with its best candidate. A front of more than `most` points
    continues with `most` of them, evenly spread and with both ends, because each costs a full share of the next rung.
    """
    quota = min(math.ceil(len(entries) / ETA), most)
    kept = _spread(front(entries), most)
    for entry in sorted(entries, key=_best_first):
        if len(kept) >= quota:
            break
        if entry not in kept:
            kept.append(entry)
    return [entry.number for entry in sorted(kept, key=_best_first)]


def front(entries: Sequence[Entry]) -> list[Entry]:
    """The entries that no smaller or equal one matches in accuracy, the smallest first."""
    best, found = -math.inf, []
    for entry in sorted(entries, key=lambda each: (each.size, -each.accuracy, each.number)):
        if entry.accuracy > best:
            found.append(entry)
            best = entry.accuracy
    return found


def _best_first(entry: Entry) -> tuple[float, int, int]:
    return -entry.accuracy, entry.size, entry.number


def _spread(points: list[Entry], most: int) -> list[Entry]:
    if len(points) <= most:
        return points
    if most == 1:
        return points[-1:]
    return [points[round(index * (len(points) - 1) / (most - 1))] for index in range(most)]
