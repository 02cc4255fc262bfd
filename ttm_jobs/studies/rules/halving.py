"""Successive halving (Jamieson and Talwalkar 2016, arXiv 1502.07943) that keeps the size-accuracy front."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

ETA = 3
# What the rungs may cost, in full runs.
_RUNG_BUDGET = 3.2
# Finalists times seeds, within these numbers of finalists.
_FINAL_RUNS = 9
_FEWEST_FINALISTS, _MOST_FINALISTS = 3, 6


@dataclass(frozen=True)
class Entry:
    """A candidate with its size in bytes and its validation accuracy at the end of a rung."""

    number: int
    size: int
    accuracy: float


@dataclass(frozen=True)
class Schedule:
    """The last epochs of the rungs, the share of the candidates that at least continues after each, and the most that
    may continue: to the next rung, or to the final.
    """

    epochs: Sequence[int]
    shares: Sequence[float]
    most: Sequence[int]


def schedule(candidates: int, epochs: int, seeds: int) -> Schedule:
    """The rungs for a number of candidates, the length of a full run in epochs, and the seeds of the final runs.

    A rung multiplies the epochs by three. There are as few rungs as cost at most `_RUNG_BUDGET` full runs, because a
    longer first rung separates candidates better: after a few steps, small learning rates look best. No rung may cost
    more epochs than the first one. The last rung keeps two thirds, since with few seeds more finalists are affordable.
    """
    ends = _ends(candidates, epochs)
    most = [
        max(candidates * ends[0] // (following - end), math.ceil(candidates / ETA ** (rung + 1)))
        for rung, (end, following) in enumerate(pairwise(ends))
    ]
    finalists = min(max(_FINAL_RUNS // seeds, _FEWEST_FINALISTS), _MOST_FINALISTS)
    if not ends:
        return Schedule([], [], [])
    return Schedule(ends, [*[1 / ETA] * len(most), 1 - 1 / ETA], [*most, finalists])


def _ends(candidates: int, epochs: int) -> list[int]:
    """The last epoch of each rung."""
    highest = math.ceil(math.log(candidates, ETA) - 1e-9) if candidates >= ETA else 0
    ends: list[int] = []
    for count in range(1, highest + 1):
        lengths = (max(round(epochs / ETA**step), 1) for step in range(count, 0, -1))
        ends = [end for end in dict.fromkeys(lengths) if end < epochs]
        trained = (candidates / ETA**rung * (end - start) for rung, (start, end) in enumerate(pairwise([0, *ends])))
        if sum(trained) <= _RUNG_BUDGET * epochs:
            break
    return ends


def promote(entries: Sequence[Entry], most: int, share: float = 1 / ETA) -> list[int]:
    """The numbers of the candidates that continue, best first: the best `share` by accuracy and the front.

    Every point of the size-accuracy front continues with its best candidate. A front of more than `most` points
    continues with `most` of them, evenly spread and with both ends, because each costs a full share of the next rung.
    """
    quota = min(math.ceil(len(entries) * share - 1e-9), most)
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
