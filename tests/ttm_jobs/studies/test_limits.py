"""Misses of limits in words."""

import pytest

from ttm_jobs.studies.rules.limits import Miss


@pytest.mark.parametrize(
    ("miss", "words"),
    [
        (Miss("retention", 0.97, 0.9), "its retention of 90.00% is below the limit of 97.00%"),
        (Miss("retention", 0.97, 0.96999), "its retention of 96.999% is below the limit of 97.000%"),
        (
            Miss("accuracy", 0.7, 0.7 - 1e-16),
            "its accuracy of 69.99999999999999% is below the limit of 70.00000000000000%",
        ),
        (Miss("latency_ms", 10, 12.3456), "its latency of 12.35 ms is above the limit of 10 ms"),
        (Miss("latency_ms", 10, 10.0004), "its latency of 10.0004 ms is above the limit of 10 ms"),
        (Miss("bytes", 1_000_000, 1_000_001), "its size of 1,000,001 bytes is above the limit of 1,000,000 bytes"),
        (Miss("latency_ms", 10, None), "its latency is unknown"),
    ],
)
def test_a_miss_has_as_many_digits_as_tell_the_value_from_the_limit(miss: Miss, words: str) -> None:
    assert str(miss) == words
