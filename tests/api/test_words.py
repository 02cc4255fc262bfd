"""Lists in sentences, in the verdicts of comparisons and in the limits of studies."""

import pytest

from api.comparisons.schemas import ComparedGroup
from api.comparisons.verdict import verdict
from api.dashboard.studies.detail import limits_text
from api.studies.schemas import Difference
from api.words import listed


@pytest.mark.parametrize(
    ("words", "text"), [([], ""), (["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")]
)
def test_list_ends_with_and(words: list[str], text: str) -> None:
    assert listed(words) == text


def group(label: str, mean: float, *, shown: bool | None) -> ComparedGroup:
    difference = (
        None if shown is None else Difference(mean=-0.1, low=-0.2, high=0.1, count=3, method="paired_t", shown=shown)
    )
    return ComparedGroup.model_construct(label=label, mean=mean, difference=difference)


def test_verdict_lists_the_other_groups() -> None:
    groups = [group("a", 0.9, shown=None), *(group(label, 0.8, shown=False) for label in "bcd")]
    assert verdict(groups, 0) == "a has the highest accuracy, but no difference from b, c and d is shown."


def test_limits_are_listed_with_the_precision_of_the_pages() -> None:
    limits = {"retention": 0.97, "bytes": 5_000_000, "latency_ms": 10, "precision": "fp32"}
    assert limits_text(limits) == ("at least 97% of the teacher's accuracy, at most 5 MB and at most 10 ms, as float32")
    assert limits_text({"bytes": 5_000_000, "precision": "any"}) == "at most 5 MB"
