"""Repeats runs until the median of their latency is known to a relative error."""

import itertools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

# Short blocks spread the load of other processes over all files that are compared; the first run of a block warms the
# caches and is not timed.
_BLOCK_SECONDS = 0.05
_MOST_IN_BLOCK = 200
_FEWEST_REPEATS, _FEWEST_BLOCKS = 20, 5
_FEWEST_AT_DEADLINE = 3
_95_PERCENT = 1.96


@dataclass(frozen=True)
class Latency:
    """Milliseconds of a run, and how well the median is known."""

    p50_ms: float
    p90_ms: float
    repeats: int
    relative_error: float


def time_interleaved(runs: Sequence[Callable[[], object]], *, relative_error: float, seconds: float) -> list[Latency]:
    """Times several functions in alternating blocks, so that load of the machine slows all of them alike.

    Stops when each has at least 20 repeats in five blocks and a median within `relative_error`, or after `seconds` for
    each function. Each function is timed at least three times.
    """
    samples: list[list[float]] = [[] for _ in runs]
    deadline = time.perf_counter() + seconds * len(runs)
    for blocks in itertools.count(1):
        for run, times in zip(runs, samples, strict=True):
            times.extend(_block(run))
        precise = blocks >= _FEWEST_BLOCKS and all(
            len(times) >= _FEWEST_REPEATS and median_error(times) <= relative_error for times in samples
        )
        late = time.perf_counter() >= deadline and all(len(times) >= _FEWEST_AT_DEADLINE for times in samples)
        if precise or late:
            break
    return [_summarize(times) for times in samples]


def median_error(times: Sequence[float]) -> float:
    """Half the width of the 95 % confidence interval of the median, divided by the median.

    The interval is between two order statistics (binomial, normal approximation), so it assumes no distribution. It
    assumes independent samples: slow changes of the machine's load are not in it.
    """
    ordered = sorted(times)
    n = len(ordered)
    half = _95_PERCENT * math.sqrt(n) / 2
    low, high = max(0, math.floor(n / 2 - half)), min(n - 1, math.ceil(n / 2 + half))
    return float((ordered[high] - ordered[low]) / 2 / np.median(ordered))


def _block(run: Callable[[], object]) -> list[float]:
    run()
    times: list[float] = []
    started = time.perf_counter()
    while len(times) < _MOST_IN_BLOCK:
        before = time.perf_counter_ns()
        run()
        times.append((time.perf_counter_ns() - before) / 1e6)
        if time.perf_counter() - started >= _BLOCK_SECONDS:
            break
    return times


def _summarize(times: Sequence[float]) -> Latency:
    p50, p90 = (float(value) for value in np.percentile(times, (50, 90)))
    return Latency(p50, p90, len(times), median_error(times))
