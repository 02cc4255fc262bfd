"""The result of a study: the front of the finalists and the recommended student."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from ttm_jobs.studies.facts import FinalResult, Goal, Limits, Precision, Screen, Variant
from ttm_jobs.studies.rules import limits as limit_checks
from ttm_jobs.studies.rules.limits import Miss
from ttm_jobs.studies.rules.statistics import Difference, compare, reported


@dataclass(frozen=True)
class Finalist:
    """A candidate with its complete runs by seed."""

    number: int
    screen: Screen
    runs: Mapping[int, FinalResult]


@dataclass(frozen=True)
class Option:
    """A file of a finalist. Accuracies are means over the runs that have it, `bytes` and `latency_ms` are those of its
    largest and its slowest file; `misses` are the limits that it does not meet.
    """

    candidate: int
    precision: Precision
    bytes: int
    latency_ms: float | None
    macs: int | None
    parameters: int
    validation: float
    test: float | None
    retention: float | None
    runs: int
    misses: Sequence[Miss]


@dataclass(frozen=True)
class Comparison:
    """The recommended file against the most accurate file of another finalist: its accuracy minus the other's."""

    candidate: int
    difference: Difference | None


@dataclass(frozen=True)
class Recommendation:
    """The recommended option; `fell_to_cheaper` names the candidate that is more accurate on the validation
    split, but not shown to be better on the test split.
    """

    option: Option
    meets_limits: bool
    fell_to_cheaper: int | None = None
    comparisons: Sequence[Comparison] = field(default_factory=list)


def options(finalists: Sequence[Finalist], limits: Limits) -> list[Option]:
    """All files of the finalists that met the cost limits when they were screened. An int8 file counts only if its
    accuracy was measured.
    """
    teacher = _teacher_validation(finalists)
    found = []
    for finalist in finalists:
        for variant in limit_checks.fitting_variants(limits, finalist.screen):
            option = _option(finalist, variant, limits, teacher)
            if option is not None:
                found.append(option)
    return found


def _teacher_validation(finalists: Sequence[Finalist]) -> float | None:
    """The teacher's validation accuracy; None if it is unknown.

    A teacher without an image size of its own is measured at that of each student. The best of them counts for all, so
    that a student with small images does not keep a larger share of a less accurate teacher.
    """
    measured = [run.teacher_validation for finalist in finalists for run in finalist.runs.values()]
    return max((accuracy for accuracy in measured if accuracy is not None), default=None)


def front(found: Sequence[Option]) -> list[Option]:
    """The options that no other matches or exceeds in accuracy, bytes and latency, the smallest first."""
    best = [one for one in found if not any(_dominates(other, one) for other in found)]
    return sorted(best, key=lambda option: (option.bytes, option.candidate, option.precision))


def recommend(goal: Goal, finalists: Sequence[Finalist], limits: Limits) -> Recommendation | None:
    """The option that meets the limits and is best by the goal; without one, the option that misses them least,
    and the cheapest of those that miss them equally.

    Validation accuracy decides. For `most_accurate`, the recommendation falls to the cheapest option than which the
    best one is not shown to be better in test accuracy. None without finalists that have a result.
    """
    found = options(finalists, limits)
    if not found:
        return None
    by_number = {finalist.number: finalist for finalist in finalists}
    meeting = [option for option in found if not option.misses]
    if not meeting:
        chosen = min(found, key=lambda option: (_excess(option), *_cost(goal, option), option.candidate))
        return Recommendation(chosen, meets_limits=False, comparisons=_comparisons(chosen, found, by_number))
    fell_to = None
    if goal == "most_accurate":
        best = min(meeting, key=_best_first)
        alike = [option for option in meeting if not _better_shown(best, option, by_number)]
        chosen = min(alike, key=lambda option: (*_cost("smallest", option), -option.validation, option.candidate))
        if chosen.candidate != best.candidate:
            fell_to = best.candidate
    else:
        chosen = min(meeting, key=lambda option: (*_cost(goal, option), -option.validation, option.candidate))
    return Recommendation(chosen, True, fell_to, _comparisons(chosen, found, by_number))


def _option(finalist: Finalist, variant: Variant, limits: Limits, teacher: float | None) -> Option | None:
    precision = variant.precision
    runs = [run for run in finalist.runs.values() if run.has(precision)]
    if not runs:
        return None
    validation = fmean(run.validation_of(precision) for run in runs)
    tests = [test for run in runs if (test := run.test_of(precision)) is not None]
    size = max((run.onnx_bytes[precision] for run in runs if precision in run.onnx_bytes), default=variant.bytes)
    latency_ms = _latency_ms(finalist.screen, variant, runs)
    return Option(
        candidate=finalist.number,
        precision=precision,
        bytes=size,
        latency_ms=latency_ms,
        macs=finalist.screen.macs,
        parameters=finalist.screen.parameters,
        validation=validation,
        test=fmean(tests) if tests else None,
        retention=validation / teacher if teacher else None,
        runs=len(runs),
        misses=[
            *limit_checks.accuracy_misses(limits, validation, teacher),
            *limit_checks.size_misses(limits, size),
            *limit_checks.latency_misses(limits, latency_ms),
        ],
    )


def _latency_ms(screen: Screen, variant: Variant, runs: Sequence[FinalResult]) -> float | None:
    """The latency of the slowest file of a finalist's runs; None if one is unknown.

    The files have the graph of the screened one and its latency, except int8 files with layers in float32.
    """
    if variant.precision == "fp32":
        return variant.latency_ms
    found = [_mixed_latency_ms(screen, run) if run.int8_in_float else variant.latency_ms for run in runs]
    known = [latency_ms for latency_ms in found if latency_ms is not None]
    return max(known) if len(known) == len(found) else None


def _mixed_latency_ms(screen: Screen, run: FinalResult) -> float | None:
    """The latency of a run's int8 file with layers in float32; None if it was not measured.

    A device that the study names measures the file. Without one, the worker does: a run measures its files next to each
    other, so load of the machine slows all of them alike, and another worker may have another CPU than the one that
    screened. So the float32 file's screened latency is scaled by the ratio of the two files.
    """
    if run.on_device is not None:
        return run.device_latency_ms
    ours = run.onnx_latency_ms
    screened = next((each.latency_ms for each in screen.variants if each.precision == "fp32"), None)
    if "int8" not in ours or "fp32" not in ours or screened is None:
        return ours.get("int8")
    return round(screened * ours["int8"] / ours["fp32"], 4)


def _excess(option: Option) -> float:
    """By which share of a limit an option misses its limits at most."""
    return max(miss.excess for miss in option.misses)


def _cost(goal: Goal, option: Option) -> tuple[float, float]:
    speed = option.latency_ms if option.latency_ms is not None else float(option.macs or option.parameters)
    return (speed, float(option.bytes)) if goal == "fastest" else (float(option.bytes), speed)


def _best_first(option: Option) -> tuple[float, float, float, int]:
    return -option.validation, *_cost("smallest", option), option.candidate


def _better_shown(best: Option, other: Option, finalists: Mapping[int, Finalist]) -> bool:
    if best.candidate == other.candidate:
        # Two files of one candidate: the int8 change was measured on the same images, and either may be chosen only if
        # it costs nothing.
        return other.validation < best.validation
    difference = _difference(best, other, finalists)
    return difference is None or difference.low > 0


def _difference(one: Option, other: Option, finalists: Mapping[int, Finalist]) -> Difference | None:
    """The accuracy of a file minus that of a file of another candidate."""
    runs = finalists[one.candidate].runs, finalists[other.candidate].runs
    return compare(*runs, (one.precision, other.precision))


def _comparisons(chosen: Option, found: Sequence[Option], finalists: Mapping[int, Finalist]) -> list[Comparison]:
    best: dict[int, Option] = {}
    for option in sorted(found, key=_best_first):
        best.setdefault(option.candidate, option)
    return [
        Comparison(number, _difference(chosen, best[number], finalists) if number in best else None)
        for number, other in sorted(finalists.items())
        if number != chosen.candidate and other.runs
    ]


def _dominates(one: Option, other: Option) -> bool:
    ours, theirs = _merits(one), _merits(other)
    return ours != theirs and all(a >= b for a, b in zip(ours, theirs, strict=True))


def _merits(option: Option) -> tuple[float, float, float]:
    accuracy = option.validation if option.test is None else option.test
    return accuracy, -float(option.bytes), -(option.latency_ms if option.latency_ms is not None else math.inf)


@dataclass(frozen=True)
class Baseline:
    """The recommended student trained on the labels alone. `precision` is that of the compared files, `accuracy` the
    mean over their runs; `difference` is the accuracy with distillation minus that without.
    """

    precision: Precision
    accuracy: float | None
    runs: int
    difference: Difference | None


def baseline_of(finalist: Finalist, precision: Precision, runs: Mapping[int, FinalResult]) -> Baseline:
    """Compares a finalist with `runs` of the same student on the labels alone, by their files of a precision.

    Without an int8 file on both sides, the float32 students are compared.
    """
    if not any(run.has(precision) for run in runs.values()) or not any(
        run.has(precision) for run in finalist.runs.values()
    ):
        precision = "fp32"
    compared = {seed: run for seed, run in runs.items() if run.has(precision)}
    return Baseline(
        precision=precision,
        accuracy=fmean(reported(run, precision) for run in compared.values()) if compared else None,
        runs=len(compared),
        difference=compare(finalist.runs, compared, (precision, precision)),
    )
