"""The schedule of rungs and the promotion of candidates."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttm_jobs.studies.rules.halving import Entry, front, promote, schedule

ENTRIES = st.lists(st.tuples(st.integers(1, 20), st.integers(0, 100)), min_size=1, max_size=60).map(
    lambda rows: [Entry(number, size, accuracy / 100) for number, (size, accuracy) in enumerate(rows, start=1)]
)


@pytest.mark.parametrize(
    ("candidates", "epochs", "rungs"),
    [
        (27, 240, (9, 27, 80)),
        (27, 30, (1, 3, 10)),
        (10, 30, (3, 10)),
        (9, 30, (10,)),
        (3, 30, (10,)),
        (2, 30, ()),
        (1, 30, ()),
        (27, 2, (1,)),
        (27, 1, ()),
    ],
)
def test_rungs_end_at_thirds_of_the_full_length(candidates: int, epochs: int, rungs: tuple[int, ...]) -> None:
    assert tuple(schedule(candidates, epochs, seeds=3).epochs) == rungs


@given(st.integers(1, 256), st.integers(1, 1000))
def test_rungs_grow_and_end_before_the_final(candidates: int, epochs: int) -> None:
    plan = schedule(candidates, epochs, seeds=3)
    assert list(plan.epochs) == sorted(set(plan.epochs))
    assert all(0 < end < epochs for end in plan.epochs)
    assert len(plan.most) == len(plan.shares) == len(plan.epochs)
    assert all(most >= 1 for most in plan.most)


@given(st.integers(2, 80), st.integers(81, 1000))
def test_rungs_cost_at_most_three_and_a_fifth_of_a_full_run(candidates: int, epochs: int) -> None:
    ends = [0, *schedule(candidates, epochs, seeds=3).epochs]
    trained = sum(candidates / 3**rung * (end - start) for rung, (start, end) in enumerate(pairwise(ends)))
    assert trained <= 3.2 * epochs + candidates


@pytest.mark.parametrize(("seeds", "finalists"), [(1, 6), (2, 4), (3, 3), (9, 3)])
def test_fewer_seeds_allow_more_finalists(seeds: int, finalists: int) -> None:
    plan = schedule(9, 30, seeds)
    assert plan.most == [finalists]
    entries = [Entry(number, 1, number / 10) for number in range(1, 10)]
    assert promote(entries, plan.most[0], plan.shares[0]) == list(range(9, 9 - finalists, -1))


@given(ENTRIES, st.integers(1, 60))
def test_every_point_of_the_front_continues_while_it_is_affordable(entries: list[Entry], most: int) -> None:
    kept = promote(entries, most)
    points = front(entries)
    assert len(kept) == len(set(kept)) <= most
    assert len(kept) >= min(math.ceil(len(entries) / 3), most)
    if len(points) <= most:
        assert {point.number for point in points} <= set(kept)
    assert max(entry.accuracy for entry in entries) == max(e.accuracy for e in entries if e.number in kept)


@given(ENTRIES, st.randoms(use_true_random=False))
def test_promotion_does_not_depend_on_the_order(entries: list[Entry], source: object) -> None:
    shuffled = list(entries)
    source.shuffle(shuffled)  # type: ignore[attr-defined]
    assert promote(entries, 9) == promote(shuffled, 9)


def test_a_small_and_inaccurate_candidate_stays_on_the_front() -> None:
    entries = [Entry(1, 10, 0.3), *(Entry(number, 100 + number, 0.9) for number in range(2, 10))]
    assert set(promote(entries, 9)) == {1, 2, 3}
