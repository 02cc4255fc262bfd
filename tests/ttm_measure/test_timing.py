"""The error of the median, and timing in alternating blocks."""

import itertools

import numpy as np
import pytest

from ttm_measure.timing import median_error, time_interleaved


def test_error_of_equal_samples_is_zero():
    assert median_error([2.0] * 30) == 0


@pytest.mark.parametrize("n", [50, 500])
def test_interval_contains_the_median_in_95_percent_of_trials(n):
    random = np.random.default_rng(0)
    trials = random.lognormal(size=(400, n))
    inside = [abs(np.median(trial) - 1) / np.median(trial) <= 1.15 * median_error(trial) for trial in trials]
    assert np.mean(inside) > 0.93


def test_error_shrinks_with_the_square_root_of_the_repeats():
    samples = np.random.default_rng(0).normal(10, 1, 10_000)
    assert median_error(samples[:100]) / median_error(samples) == pytest.approx(10, rel=0.35)


def test_functions_alternate_in_blocks_until_each_is_precise():
    calls: list[str] = []
    first, second = time_interleaved(
        [lambda: calls.append("a"), lambda: calls.append("b")], relative_error=100, seconds=60
    )
    assert first.repeats == second.repeats >= 20
    changes = sum(left != right for left, right in itertools.pairwise(calls))
    assert changes >= 9  # five blocks each
    assert first.p50_ms <= first.p90_ms
