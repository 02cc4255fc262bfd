"""Misses of limits in words."""

import pytest

from ttm_jobs.studies.facts import Limits, Screen, Variant
from ttm_jobs.studies.rules.limits import Miss, accuracy_misses, rejection


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


def test_a_latency_that_no_device_measured_is_no_miss_of_a_file_that_misses_another_limit() -> None:
    screen = Screen(parameters=100, macs=10, variants=(Variant("fp32", 400), Variant("int8", 110)))
    limits = Limits(bytes=100, latency_ms=10)
    assert rejection(limits, screen) == "int8: its size of 110 bytes is above the limit of 100 bytes"
    assert rejection(Limits(latency_ms=10, precision="int8"), screen) == "int8: its latency is unknown"


@pytest.mark.parametrize(("limit", "student", "teacher", "images"), [(0.9, 18, 20, 96), (0.97, 873, 900, 1000)])
def test_a_student_exactly_at_a_limit_meets_it(limit: float, student: int, teacher: int, images: int) -> None:
    retention = Limits(retention=limit)
    assert not accuracy_misses(retention, student / images, teacher / images)
    assert accuracy_misses(retention, (student - 1) / images, teacher / images)
    assert not accuracy_misses(Limits(accuracy=0.7), 0.7 - 1e-16, None)
