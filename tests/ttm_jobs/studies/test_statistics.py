"""Intervals of differences, against SciPy and against drawn resamples."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttm_jobs.studies.facts import FinalResult
from ttm_jobs.studies.rules.statistics import compare, over_common_seeds, paired_bootstrap, paired_t


@pytest.mark.parametrize("count", range(2, 11))
def test_the_paired_t_interval_is_that_of_scipy(count: int) -> None:
    from scipy import stats  # here: takes half a second, in every process that collects tests

    generator = np.random.default_rng(count)
    first, second = generator.normal(0.9, 0.01, count), generator.normal(0.89, 0.01, count)
    found = paired_t(first.tolist(), second.tolist())
    expected = stats.ttest_rel(first, second).confidence_interval(0.95)
    assert found.low == pytest.approx(expected.low, abs=1e-8)
    assert found.high == pytest.approx(expected.high, abs=1e-8)
    assert found.method == "paired_t"


def test_no_interval_exceeds_what_accuracies_can_differ_by() -> None:
    found = over_common_seeds({0: 0.97, 1: 0.72}, {0: 0.95, 1: 0.9})
    assert found is not None
    assert (found.low, found.high, found.mean) == (-1, 1, pytest.approx(-0.08))
    assert over_common_seeds({0: 0.97, 1: 0.72}, {1: 0.9}) is None


def test_equal_differences_of_seeds_have_an_interval_over_images() -> None:
    correct = {"first": [True] * 48 + [False] * 2, "second": [True] * 45 + [False] * 5}
    first, second = (
        {seed: FinalResult(validation=sum(each) / 50, test=sum(each) / 50, correct=each) for seed in (0, 1)}
        for each in correct.values()
    )
    found = compare(first, second)
    assert found is not None
    assert (found.method, found.count, found.mean) == ("paired_bootstrap", 50, pytest.approx(0.06))
    assert found.low < found.mean < found.high
    assert over_common_seeds({0: 0.9, 1: 0.8, 2: 0.7}, {0: 0.8, 1: 0.7, 2: 0.6}) is None


@pytest.mark.parametrize(("images", "wins", "losses"), [(100, 8, 3), (1000, 30, 31), (10_000, 400, 300), (50, 0, 4)])
def test_the_paired_bootstrap_is_the_limit_of_many_resamples(images: int, wins: int, losses: int) -> None:
    first = np.array([True] * wins + [False] * losses + [True] * (images - wins - losses))
    second = np.array([False] * wins + [True] * losses + [True] * (images - wins - losses))
    found = paired_bootstrap(first.tolist(), second.tolist())
    drawn = np.random.default_rng(0).multinomial(
        images, [wins / images, losses / images, 1 - (wins + losses) / images], 200_000
    )
    low, high = np.quantile((drawn[:, 0] - drawn[:, 1]) / images, [0.025, 0.975], method="inverted_cdf")
    assert found.mean == pytest.approx((wins - losses) / images)
    assert found.low == pytest.approx(low, abs=1.01 / images + 0.02 * (high - low))
    assert found.high == pytest.approx(high, abs=1.01 / images + 0.02 * (high - low))


def test_models_that_agree_on_every_image_differ_by_nothing() -> None:
    found = paired_bootstrap([True, False] * 50, [True, False] * 50)
    assert (found.mean, found.low, found.high) == (0.0, 0.0, 0.0)
    assert not found.shown


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=200))
def test_swapping_the_models_mirrors_the_interval(pairs: list[tuple[bool, bool]]) -> None:
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    one, other = paired_bootstrap(first, second), paired_bootstrap(second, first)
    assert one.mean == -other.mean
    assert one.low <= one.mean <= one.high
    step = 1 / len(pairs)
    assert one.low == pytest.approx(-other.high, abs=step + 1e-9)


def test_several_seeds_are_compared_by_t_and_one_by_images() -> None:
    run = FinalResult(validation=0.9, test=0.9, correct=[True] * 9 + [False])
    worse = FinalResult(validation=0.8, test=0.8, correct=[True] * 8 + [False] * 2)
    one = compare({0: run}, {0: worse})
    several = compare({0: run, 1: run}, {0: worse, 1: run})
    assert one is not None
    assert several is not None
    assert (one.method, one.count) == ("paired_bootstrap", 10)
    assert (several.method, several.count) == ("paired_t", 2)
    assert compare({}, {0: run}) is None
    assert compare({0: FinalResult(0.9)}, {0: FinalResult(0.8)}) is None
