"""The recommended student, and differences that are not shown."""

from dataclasses import replace

import pytest

from tests.ttm_jobs.studies.simulation import screen
from ttm_jobs.studies.facts import FinalResult, Limits, Precision, Screen, Timing, Variant
from ttm_jobs.studies.rules.recommendation import Finalist, Recommendation, front, options, recommend

FP32 = Limits(precision="fp32")


def finalist(number: int, size: int, accuracies: list[float], *, images: int = 0, int8_change: float = 0.0) -> Finalist:
    runs = {
        seed: FinalResult(
            validation=accuracy,
            teacher_validation=1.0,
            test=accuracy,
            correct=[index < accuracy * images for index in range(images)] or None,
            int8_change=int8_change,
        )
        for seed, accuracy in enumerate(accuracies)
    }
    return Finalist(number, screen(size, latency_ms=10 / size), runs)


def test_the_cheaper_model_wins_where_no_difference_is_shown() -> None:
    noisy = [finalist(1, 100, [0.90, 0.92, 0.88]), finalist(2, 400, [0.91, 0.90, 0.91])]
    found = recommend("most_accurate", noisy, FP32)
    assert found is not None
    assert (found.option.candidate, found.fell_to_cheaper) == (1, 2)
    (comparison,) = found.comparisons
    assert comparison.difference is not None
    assert comparison.difference.low < 0 < comparison.difference.high
    assert not comparison.difference.shown


def test_a_model_that_the_test_split_shows_to_be_worse_is_not_preferred() -> None:
    # The second one is better on the validation split, and worse on the test split.
    small, large = finalist(1, 100, [0.80, 0.81, 0.80]), finalist(2, 400, [0.90, 0.91, 0.90])
    runs = {seed: replace(run, test=0.70) for seed, run in large.runs.items()}
    found = recommend("most_accurate", [small, replace(large, runs=runs)], FP32)
    assert found is not None
    assert (found.option.candidate, found.fell_to_cheaper) == (1, 2)


def test_a_shown_difference_keeps_the_more_accurate_model() -> None:
    clear = [finalist(1, 100, [0.80, 0.81, 0.80]), finalist(2, 400, [0.90, 0.91, 0.90])]
    found = recommend("most_accurate", clear, FP32)
    assert found is not None
    assert (found.option.candidate, found.fell_to_cheaper) == (2, None)


def test_one_run_each_is_compared_by_its_test_images() -> None:
    alike = [finalist(1, 100, [0.90], images=100), finalist(2, 400, [0.91], images=100)]
    found = recommend("most_accurate", alike, FP32)
    assert found is not None
    assert found.option.candidate == 1
    (comparison,) = found.comparisons
    assert comparison.difference is not None
    assert comparison.difference.method == "paired_bootstrap"


@pytest.mark.parametrize(("goal", "expected"), [("smallest", 2), ("fastest", 3)])
def test_cost_decides_among_models_that_meet_the_limits(goal: str, expected: int) -> None:
    # Larger models are faster here; the first one misses the limit.
    finalists = [finalist(1, 100, [0.70]), finalist(2, 200, [0.85]), finalist(3, 300, [0.95])]
    found = recommend(goal, finalists, Limits(retention=0.8, precision="fp32"))
    assert found is not None
    assert found.option.candidate == expected
    assert found.meets_limits


@pytest.mark.parametrize(("goal", "expected"), [("smallest", 2), ("fastest", 1)])
def test_files_that_miss_a_limit_equally_are_chosen_by_the_goal(goal: str, expected: int) -> None:
    # Larger models are faster here; both files of a model have its latency.
    finalists = [finalist(1, 400, [0.85]), finalist(2, 100, [0.85])]
    found = recommend(goal, finalists, Limits(retention=0.9))
    assert found is not None
    assert not found.meets_limits
    assert (found.option.candidate, found.option.precision) == (expected, "int8")


def test_an_int8_file_counts_with_its_measured_accuracy() -> None:
    robust, fragile = finalist(1, 400, [0.95]), finalist(2, 200, [0.95], int8_change=-0.3)
    found = recommend("smallest", [robust, fragile], Limits(accuracy=0.9))
    assert found is not None
    assert (found.option.candidate, found.option.precision, found.option.bytes) == (1, "int8", 100)


@pytest.mark.parametrize(
    ("accuracies", "other"), [([0.95], [0.94]), ([0.95, 0.94, 0.93], [0.94, 0.95, 0.92])], ids=["images", "seeds"]
)
def test_an_int8_file_that_loses_accuracy_is_no_cheaper_equal(accuracies: list[float], other: list[float]) -> None:
    # The float32 students show no difference, and the int8 file of the second is the smallest.
    def found(int8_change: float) -> Recommendation:
        finalists = [
            finalist(1, 400, accuracies, images=100, int8_change=-0.3),
            finalist(2, 200, other, images=100, int8_change=int8_change),
        ]
        recommended = recommend("most_accurate", finalists, Limits())
        assert recommended is not None
        return recommended

    lost = found(-0.3)
    assert (lost.option.candidate, lost.option.precision, lost.fell_to_cheaper) == (2, "fp32", 1)
    kept = found(0.0)
    assert (kept.option.candidate, kept.option.precision, kept.fell_to_cheaper) == (2, "int8", 1)
    assert not any(each.difference is None or each.difference.shown for each in (*lost.comparisons, *kept.comparisons))


def test_the_recommended_int8_file_is_compared_with_its_own_accuracy() -> None:
    fragile, robust = finalist(1, 100, [0.95] * 3, int8_change=-0.3), finalist(2, 400, [0.95, 0.96, 0.95])
    found = recommend("smallest", [fragile, robust], Limits(accuracy=0.6))
    assert found is not None
    assert (found.option.candidate, found.option.precision) == (1, "int8")
    (comparison,) = found.comparisons
    assert comparison.difference is not None
    assert comparison.difference.mean == pytest.approx(0.65 - 0.95333, abs=1e-4)
    assert comparison.difference.shown


def test_an_int8_file_of_unknown_accuracy_does_not_count() -> None:
    unknown = Finalist(1, screen(400), {0: FinalResult(0.9)})
    assert [option.precision for option in options([unknown], Limits())] == ["fp32"]


def test_retention_compares_with_the_best_accuracy_of_the_teacher() -> None:
    # The first student has smaller images, and so has its teacher, which states no image size.
    small, large = finalist(1, 100, [0.60]), finalist(2, 400, [0.85])
    blurred = {seed: replace(run, teacher_validation=0.62) for seed, run in small.runs.items()}
    found = recommend("smallest", [replace(small, runs=blurred), large], Limits(retention=0.8, precision="fp32"))
    assert found is not None
    assert (found.option.candidate, found.meets_limits) == (2, True)
    assert [option.retention for option in options([replace(small, runs=blurred), large], FP32)] == [0.60, 0.85]


def test_the_front_has_no_model_that_another_one_beats_in_everything() -> None:
    finalists = [finalist(1, 100, [0.7]), finalist(2, 200, [0.6]), finalist(3, 300, [0.9])]
    found = front(options(finalists, FP32))
    # Larger models are faster in this test, so the second is on the front for its latency.
    assert [option.candidate for option in found] == [1, 2, 3]
    slow = Finalist(4, Screen(75, 300, (Variant("fp32", 300, 50.0),)), {0: FinalResult(0.65, test=0.65)})
    assert 4 not in {option.candidate for option in front(options([*finalists, slow], FP32))}


def test_finalists_without_results_give_no_recommendation() -> None:
    assert recommend("smallest", [Finalist(1, screen(100), {})], FP32) is None


def test_the_size_of_the_exported_file_decides_not_the_screened_one() -> None:
    # Layers that stay in float32 make the int8 file of a trained student larger than that of the untrained one.
    small, large = finalist(1, 100, [0.90, 0.90]), finalist(2, 400, [0.90, 0.90])
    grown = {seed: replace(run, onnx_bytes={"fp32": 100, "int8": 50 + seed}) for seed, run in small.runs.items()}
    limits = Limits(retention=0.8, bytes=45, precision="int8")
    found = recommend("smallest", [replace(small, runs=grown)], limits)
    assert found is not None
    assert (found.option.bytes, found.meets_limits) == (51, False)
    assert [(miss.limit, miss.value) for miss in found.option.misses] == [("bytes", 51)]
    found = recommend("smallest", [replace(small, runs=grown), large], Limits(retention=0.8, bytes=200))
    assert found is not None
    assert (found.option.candidate, found.option.precision, found.option.bytes) == (1, "int8", 51)


def with_float_layers(one: Finalist, latencies: list[dict[Precision, float]]) -> Finalist:
    """A finalist whose runs have int8 files with layers in float32, with the latencies that the runs measured."""
    runs = {
        seed: replace(run, int8_in_float=True, onnx_latency_ms=latencies[seed]) if seed < len(latencies) else run
        for seed, run in one.runs.items()
    }
    return replace(one, runs=runs)


@pytest.mark.parametrize(
    ("measured", "latency_ms"),
    [
        # Another worker or a busy one: the ratio to the float32 file of the same run counts.
        ([{"fp32": 40.0, "int8": 60.0}], 15.0),
        ([{"fp32": 5.0, "int8": 4.0}, {"fp32": 5.0, "int8": 4.5}], 10.0),
        # The float32 file is not exported.
        ([{"int8": 14.0}], 14.0),
        ([{}], None),
    ],
)
def test_the_latency_of_a_file_with_float32_layers_is_that_of_the_trained_student(
    measured: list[dict[Precision, float]], latency_ms: float | None
) -> None:
    # Both files took 10 ms when they were screened. The last run has an int8 file like the screened one.
    mixed = with_float_layers(replace(finalist(1, 100, [0.9] * 3), screen=screen(100, 10.0)), measured)
    limits = Limits(retention=0.8, latency_ms=12, precision="int8")
    (option,) = options([mixed], limits)
    assert option.latency_ms == latency_ms
    meets = latency_ms is not None and latency_ms <= 12
    assert [(miss.limit, miss.value) for miss in option.misses] == ([] if meets else [("latency_ms", latency_ms)])
    found = recommend("smallest", [mixed], replace(limits, precision="any"))
    assert found is not None
    assert (found.option.precision, found.meets_limits) == ("int8" if meets else "fp32", True)
    assert options([mixed], Limits(retention=0.8, precision="int8"))[0].misses == []


def test_the_latency_on_the_device_counts_not_that_of_the_worker() -> None:
    (run,) = finalist(1, 100, [0.9]).runs.values()
    mixed = replace(run, int8_in_float=True, onnx_latency_ms={"fp32": 1.0, "int8": 9.0})
    limits = Limits(accuracy=0.8, latency_ms=12, precision="int8")
    for measured in (11.0, None):
        on_device = replace(mixed, on_device=Timing.DONE, device_latency_ms=measured)
        (option,) = options([Finalist(1, screen(100, 10.0), {0: on_device})], limits)
        assert (option.latency_ms, bool(option.misses)) == (measured, measured is None)


def test_the_validation_accuracy_of_an_int8_file_does_not_depend_on_the_test_split() -> None:
    runs = {
        seed: FinalResult(0.9, teacher_validation=1.0, test=0.8, int8_change=-0.2, int8_validation_change=-0.01)
        for seed in range(3)
    }
    (option,) = options([Finalist(1, screen(100), runs)], Limits(retention=0.88, precision="int8"))
    assert (option.validation, option.test) == (pytest.approx(0.89), pytest.approx(0.6))
    assert not option.misses
