"""The result of a study: the job to download, and the comparison with labels alone."""

from tests.ttm_jobs.studies.simulation import candidates
from ttm_jobs.states import JobState
from ttm_jobs.studies.decide import decide
from ttm_jobs.studies.decision import Succeed
from ttm_jobs.studies.facts import Facts, FinalResult, JobKind, Limits, Plan, Precision, Trial
from ttm_jobs.studies.result import Json, result_json


def result_of(
    runs: list[FinalResult], baseline: list[FinalResult] | None = None, precision: Precision = "int8"
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
