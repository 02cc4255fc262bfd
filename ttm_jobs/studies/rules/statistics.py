"""Intervals of differences between two models.

Without NumPy and without random numbers, because the API computes them too, and a replay must give equal numbers.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Literal

from ttm_jobs.studies.facts import FinalResult, Precision

CONFIDENCE = 0.95
# Two-sided 95 % quantiles of Student's t distribution with 1, 2, ... degrees of freedom.
_T95 = (12.706205, 4.302653, 3.182446, 2.776445, 2.570582, 2.446912, 2.364624, 2.306004, 2.262157)
# Beyond this number of standard deviations, a binomial distribution has no mass that matters here.
_TAIL = 5.0
# Of float64 sums; one image of a million changes an accuracy by 1e-6.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Difference:
    """Accuracy of one model minus that of another, with its 95 % interval, all in [-1, 1].

    `method` is `paired_t` (over runs with the same seeds) or `paired_bootstrap` (over test images of one run each).
    """

    mean: float
    low: float
    high: float
    method: Literal["paired_t", "paired_bootstrap"]
    count: int

    @property
    def shown(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low > 0 or self.high < 0

    def shifted(self, by: float) -> "Difference":
        """The difference after the first model gained an accuracy of `by`."""
        mean, low, high = (min(max(value + by, -1.0), 1.0) for value in (self.mean, self.low, self.high))
        return replace(self, mean=mean, low=low, high=high)


def paired_t(first: Sequence[float], second: Sequence[float]) -> Difference:
    """The t interval of the mean difference of paired values, from 2 to 10 pairs.

    Pairs with equal differences give an interval of width zero.
    """
    differences = [a - b for a, b in zip(first, second, strict=True)]
    if not 2 <= len(differences) <= len(_T95) + 1:
        raise ValueError(f"a paired t interval needs 2 to {len(_T95) + 1} pairs, not {len(differences)}")
    mean = fmean(differences)
    margin = _T95[len(differences) - 2] * stdev(differences) / math.sqrt(len(differences))
    return Difference(mean, mean - margin, mean + margin, "paired_t", len(differences))


def over_common_seeds(first: Mapping[int, float], second: Mapping[int, float]) -> Difference | None:
    """The t interval over the seeds for which two models have accuracies, at most ten. None for fewer than two, and for
    equal differences: accuracies are shares of images, so a few differences can be equal by chance.
    """
    seeds = sorted(first.keys() & second.keys())[: len(_T95) + 1]
    if len(seeds) < 2:
        return None
    found = paired_t([first[seed] for seed in seeds], [second[seed] for seed in seeds])
    if found.high - found.low < _ROUNDING:
        return None
    # The interval of two runs is often wider than accuracies can differ.
    return found.shifted(0)


def paired_bootstrap(first: Sequence[bool], second: Sequence[bool]) -> Difference:
    """The percentile interval of the accuracy difference over resampled images.

    Computed exactly: the number of images that only the first model classifies correctly, and that only the second
    does, are multinomial, so the distribution over all resamples is known and none is drawn.
    """
    images = len(first)
    if images == 0 or images != len(second):
        raise ValueError("a paired bootstrap needs the same images for both models")
    wins = sum(a and not b for a, b in zip(first, second, strict=True))
    losses = sum(b and not a for a, b in zip(first, second, strict=True))
    distribution = _difference_distribution(images, wins, losses)
    low = _quantile(distribution, (1 - CONFIDENCE) / 2)
    high = _quantile(distribution, (1 + CONFIDENCE) / 2)
    return Difference((wins - losses) / images, low / images, high / images, "paired_bootstrap", images)


def compare(
    first: Mapping[int, FinalResult],
    second: Mapping[int, FinalResult],
    precisions: tuple[Precision, Precision] = ("fp32", "fp32"),
) -> Difference | None:
    """The difference in test accuracy of two candidates, by seed of their runs; of validation accuracy without a test
    split.

    Over two or more common seeds with different differences, a t interval; else a bootstrap over the test images of one
    run each. None if neither is possible.

    Args:
        first: runs of a candidate by seed.
        second: those of the other candidate.
        precisions: of the compared files. Runs whose int8 file was not measured do not count for int8.
    """
    runs = [
        {seed: result for seed, result in each.items() if result.has(precision)}
        for each, precision in zip((first, second), precisions, strict=True)
    ]
    by_seed = [
        {seed: reported(result, precision) for seed, result in each.items()}
        for each, precision in zip(runs, precisions, strict=True)
    ]
    if (found := over_common_seeds(*by_seed)) is not None:
        return found
    if not all(runs):
        return None
    one, other = (each[min(each)] for each in runs)
    if not one.correct or not other.correct or len(one.correct) != len(other.correct):
        return None
    # The marked images are those of the float32 students; the change by int8 was measured on the same images.
    change = one.change_to(precisions[0]) - other.change_to(precisions[1])
    return paired_bootstrap(one.correct, other.correct).shifted(change)


def reported(result: FinalResult, precision: Precision) -> float:
    """The accuracy of a file of a run to report: test, or validation without a test split."""
    test = result.test_of(precision)
    return result.validation_of(precision) if test is None else test


def _difference_distribution(images: int, wins: int, losses: int) -> dict[int, float]:
    """The probability of each difference (wins minus losses) of a resample."""
    discordant = wins + losses
    if discordant == 0:
        return {0: 1.0}
    probabilities: dict[int, float] = {}
    for number, share in _binomial(images, discordant / images):
        for won, weight in _binomial(number, wins / discordant):
            difference = 2 * won - number
            probabilities[difference] = probabilities.get(difference, 0.0) + share * weight
    return probabilities


def _binomial(count: int, share: float) -> list[tuple[int, float]]:
    """The outcomes of a binomial distribution within five standard deviations, with their probabilities."""
    if count == 0 or share in (0.0, 1.0):
        return [(round(count * share), 1.0)]
    center, width = count * share, _TAIL * math.sqrt(count * share * (1 - share)) + 1
    low, high = max(math.floor(center - width), 0), min(math.ceil(center + width), count)
    constant = math.lgamma(count + 1)
    log_share, log_rest = math.log(share), math.log1p(-share)
    return [
        (
            number,
            math.exp(
                constant
                - math.lgamma(number + 1)
                - math.lgamma(count - number + 1)
                + number * log_share
                + (count - number) * log_rest
            ),
        )
        for number in range(low, high + 1)
    ]


def _quantile(distribution: dict[int, float], share: float) -> int:
    total, reached = sum(distribution.values()), 0.0
    for value in sorted(distribution):
        reached += distribution[value]
        if reached >= share * total:
            return value
    return max(distribution)
