"""The result of a study: the job to download, and the comparison with labels alone."""

import random
from typing import Literal

import pytest

from tests.ttm_jobs.studies.simulation import Simulation, candidates
from ttm_jobs.states import JobState
from ttm_jobs.studies.decide import decide
from ttm_jobs.studies.decision import Succeed
from ttm_jobs.studies.facts import Facts, FinalResult, JobKind, Limits, Plan, Precision, Trial
from ttm_jobs.studies.result import Json, result_json


def result_of(
    runs: list[FinalResult], baseline: list[FinalResult] | None = None, precision: Precision | Literal["any"] = "int8"
) -> Json:
    """The result of a study with one finalist. Its jobs are `run-SEED`."""
    plan = Plan(
        "smallest", Limits(accuracy=0.1, precision=precision), 1, seeds=len(runs), baseline=baseline is not None
    )
    trials = [Trial(kind, kind, JobState.SUCCEEDED) for kind in (JobKind.SCREEN, JobKind.TEACHER)]
    for name, results in (("run", runs), ("baseline", baseline or [])):
        trials += [
            Trial(
                f"{name}-{seed}",
                JobKind.DISTILL,
                JobState.SUCCEEDED,
                candidate=1,
                seed=seed,
                baseline=name == "baseline",
                result=result,
            )
            for seed, result in enumerate(results)
        ]
    facts = Facts(plan, candidates([100]), trials)
    decision = decide(facts)
    assert isinstance(decision.actions[-1], Succeed), decision
    return result_json(facts, decision, teacher_forwards=0, teacher_cache_hits=0)


def test_the_job_is_the_one_with_the_best_file_of_the_recommended_precision() -> None:
    runs = [
        FinalResult(0.95, int8_change=-0.01, int8_validation_change=-0.2),
        FinalResult(0.90, int8_change=-0.1, int8_validation_change=-0.01),
        # Without the accuracy on the validation split, the change on the test split counts.
        FinalResult(0.91, int8_change=-0.03),
        FinalResult(0.99),
    ]
    assert result_of(runs)["recommendation"]["job"] == "run-1"
    assert result_of(runs, precision="fp32")["recommendation"]["job"] == "run-3"
    assert result_of([runs[1], runs[1]])["recommendation"]["job"] == "run-0"


def test_labels_alone_are_compared_by_files_of_the_recommended_precision() -> None:
    # Distillation helps the float32 student by 5 points, and its int8 file by 15.
    runs = [FinalResult(0.95, test=0.90 + seed / 100, int8_change=-0.05) for seed in range(3)]
    alone = [FinalResult(0.95, test=0.84 + seed / 50, int8_change=-0.15) for seed in range(3)]
    int8, fp32 = (result_of(runs, alone, precision)["baseline"] for precision in ("int8", "fp32"))
    assert (int8["precision"], int8["accuracy"], int8["runs"]) == ("int8", pytest.approx(0.71), 3)
    assert int8["difference"]["mean"] == pytest.approx(0.15)
    assert (fp32["precision"], fp32["accuracy"], fp32["runs"]) == ("fp32", pytest.approx(0.86), 3)
    assert fp32["difference"]["mean"] == pytest.approx(0.05)


def test_only_seeds_with_int8_files_on_both_sides_are_compared() -> None:
    runs = [FinalResult(0.9, test=0.9, int8_change=-0.1) for _ in range(3)]
    alone = [FinalResult(0.9, test=accuracy, int8_change=-0.1) for accuracy in (0.8, 0.7)] + [
        FinalResult(0.9, test=0.1)
    ]
    found = result_of(runs, alone)["baseline"]
    assert (found["precision"], found["accuracy"], found["runs"]) == ("int8", pytest.approx(0.65), 2)
    assert (found["difference"]["mean"], found["difference"]["count"]) == (pytest.approx(0.15), 2)
    without = [FinalResult(0.9, test=accuracy) for accuracy in (0.6, 0.7, 0.8)]
    found = result_of(runs, without)["baseline"]
    assert (found["precision"], found["accuracy"], found["runs"]) == ("fp32", pytest.approx(0.7), 3)
    assert found["difference"]["mean"] == pytest.approx(0.2)


def test_a_study_without_a_baseline_compares_nothing() -> None:
    found = result_of([FinalResult(0.9, int8_change=-0.1)])["baseline"]
    assert (found["accuracy"], found["runs"], found["difference"]) == (None, 0, None)


def test_the_accuracy_of_an_int8_file_is_that_of_the_runs_that_have_it() -> None:
    runs = [FinalResult(0.90, test=0.80, int8_change=-0.1), FinalResult(0.99, test=0.98)]
    fp32, int8 = result_of(runs, precision="any")["options"]
    assert (fp32["precision"], fp32["runs"], fp32["validation"]) == ("fp32", 2, pytest.approx(0.945))
    assert (int8["precision"], int8["runs"]) == ("int8", 1)
    assert (int8["validation"], int8["test"]) == (pytest.approx(0.8), pytest.approx(0.7))


def test_candidates_whose_jobs_fail_are_not_among_those_tried() -> None:
    plan = Plan("smallest", Limits(accuracy=0.1), epochs=9, seeds=1, baseline=False)
    study = Simulation(plan, candidates([100, 200, 300, 400]), lambda *_: 0.5, frozenset({(2, 0)}))
    study.run(random.Random(0))
    facts = study.facts()
    assert result_json(facts, decide(facts), teacher_forwards=0, teacher_cache_hits=0)["candidates_tried"] == 3
