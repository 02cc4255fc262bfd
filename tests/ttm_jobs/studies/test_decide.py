"""Decisions of a study: stages, failures, limits, and independence of the order in which jobs end."""

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ttm_jobs.studies.simulation import Simulation, candidates
from ttm_jobs.states import JobState
from ttm_jobs.studies.decide import decide
from ttm_jobs.studies.decision import Continue, Fail, Start, Succeed
from ttm_jobs.studies.facts import (
    Candidate,
    Facts,
    FinalResult,
    JobKind,
    Limits,
    Plan,
    Screen,
    Timing,
    Trial,
    Variant,
)

PLAN = Plan(goal="smallest", limits=Limits(retention=0.8), epochs=27, seeds=2, candidates=27)


def by_size(candidate: int, seed: int, epoch: int, baseline: bool) -> float:
    """Larger candidates and longer runs are more accurate; the baseline is worse."""
    return round(1 - 0.5 / candidate - 0.2 / epoch - 0.1 * baseline + 0.001 * seed, 6)


def a_study(sizes: list[int], plan: Plan = PLAN, **fields: object) -> Simulation:
    return Simulation(plan, candidates(sizes), by_size, **fields)


def test_stages_follow_each_other() -> None:
    study = a_study([100, 200, 300])
    assert study.step().actions == [Start(JobKind.SCREEN)]
    study.finish("job-0")
    assert study.step().actions == [Start(JobKind.TEACHER)]
    study.finish("job-1")
    assert [action.pause_after for action in study.step().actions] == [9, 9, 9]
    for job_id in ("job-2", "job-3", "job-4"):
        study.finish(job_id)
    decision = study.step()
    assert decision.stage == "finals"
    # All three are on the front, and three finalists are affordable.
    assert sorted(decision.finalists) == [1, 2, 3]
    assert {action.rung for action in decision.actions if isinstance(action, Continue)} == {1}
    while study.ended is None:
        study.finish(study.runnable()[0])
        decision = study.step()
    assert isinstance(study.ended, Succeed)
    # 1 - 0.5 / 2 - 0.2 / 27 = 0.743 < 0.8, so only the third meets the limit.
    assert study.ended.recommendation.option.candidate == 3
    assert {trial.candidate for trial in study.trials.values() if trial.baseline} == {3}


def test_deciding_again_changes_nothing() -> None:
    study = a_study([100, 200, 300])
    study.step()
    assert decide(study.facts()).actions == []


@settings(max_examples=60)
@given(
    sizes=st.lists(st.integers(10, 1000), min_size=1, max_size=30),
    scores=st.lists(st.integers(0, 50), min_size=30, max_size=30),
    fails=st.frozensets(st.tuples(st.integers(1, 30), st.integers(0, 1)), max_size=8),
    goal=st.sampled_from(["smallest", "fastest", "most_accurate"]),
    seed=st.integers(0, 2**20),
)
def test_the_result_does_not_depend_on_the_order_of_jobs(
    sizes: list[int], scores: list[int], fails: frozenset[tuple[int, int]], goal: str, seed: int
) -> None:
    plan = replace(PLAN, goal=goal)

    def accuracy(candidate: int, seed: int, epoch: int, baseline: bool) -> float:
        return scores[candidate - 1] / 100 + epoch / 100 + seed / 1000

    ended = []
    for order in (seed, seed + 1, seed + 2):
        study = Simulation(plan, candidates(sizes), accuracy, fails)
        study.run(random.Random(order))
        ended.append((study.ended, study.rejected, study.epochs_of_rungs()))
    assert ended[0] == ended[1] == ended[2]
    if len(fails) == 0:
        assert isinstance(ended[0][0], Succeed)


@settings(max_examples=40)
@given(scores=st.lists(st.integers(0, 1000), min_size=27, max_size=27), data=st.data())
def test_27_candidates_cost_at_most_three_full_runs_before_the_final(scores: list[int], data: st.DataObject) -> None:
    sizes = data.draw(st.permutations(range(100, 127)))
    study = Simulation(replace(PLAN, epochs=81), candidates(list(sizes)), lambda c, s, e, b: scores[c - 1] / 1000 + e)
    study.run(random.Random(0))
    assert study.epochs_of_rungs() <= 3.2 * 81


def test_candidates_that_cannot_meet_the_limits_are_rejected_with_the_limit_and_the_number() -> None:
    plan = replace(PLAN, limits=Limits(retention=0.5, bytes=250, precision="fp32"))
    study = a_study([100, 200, 300], plan)
    study.run(random.Random(0))
    assert study.rejected[3].stage == "screen"
    assert study.rejected[3].reason == "float32: its size of 300 bytes is above the limit of 250 bytes"


def test_limits_that_nothing_meets_name_the_nearest_candidates() -> None:
    plan = replace(PLAN, limits=Limits(bytes=10, retention=0.5))
    study = a_study([100, 200, 300, 400], plan)
    study.run(random.Random(0))
    assert isinstance(study.ended, Fail)
    assert study.ended.code == "limits_unmet"
    assert [(near.candidate, near.variant.precision) for near in study.ended.nearest] == [
        (1, "int8"),
        (2, "int8"),
        (3, "int8"),
    ]
    assert "student-1 (int8): its size of 25 bytes is above the limit of 10 bytes" in study.ended.message
    assert [trial.kind for trial in study.trials.values()] == [JobKind.SCREEN]


def test_an_accuracy_limit_that_nothing_meets_still_recommends_the_nearest() -> None:
    study = a_study([100, 200, 300], replace(PLAN, limits=Limits(accuracy=0.99)))
    study.run(random.Random(0))
    assert isinstance(study.ended, Succeed)
    assert not study.ended.recommendation.meets_limits
    assert study.ended.recommendation.option.candidate == 3
    assert [miss.limit for miss in study.ended.recommendation.option.misses] == ["accuracy"]


def test_a_candidate_that_cannot_be_built_is_rejected_with_its_error() -> None:
    study = Simulation(PLAN, [*candidates([100]), Candidate(2, "broken", Screen(error="cannot be exported"))], by_size)
    study.run(random.Random(0))
    assert study.rejected[2].reason == "cannot be exported"
    assert isinstance(study.ended, Succeed)


def test_lost_trials_are_dropped_with_their_reason_and_the_study_ends() -> None:
    study = a_study([100, 200, 300, 400], fails=frozenset({(4, 0)}))
    study.run(random.Random(0))
    assert study.rejected[4].reason == "its job failed: bad_dataset"
    assert isinstance(study.ended, Succeed)
    assert study.ended.recommendation.option.candidate == 3


def test_a_study_without_any_student_fails() -> None:
    study = a_study([100, 200], fails=frozenset({(1, 0), (1, 1), (2, 0), (2, 1)}))
    study.run(random.Random(0))
    assert isinstance(study.ended, Fail)
    assert study.ended.code == "no_student"
    assert "bad_dataset" in study.ended.message


def test_students_whose_int8_files_could_not_be_exported_were_trained() -> None:
    # Only the int8 file fits, and no run has one.
    study = a_study([200], replace(PLAN, limits=Limits(accuracy=0.5, bytes=60)))
    while not any(trial.kind is JobKind.DISTILL for trial in study.trials.values()):
        for job_id in study.runnable():
            study.finish(job_id)
        study.step()
    result = FinalResult(validation=0.9, int8_change=None)
    for job_id in study.runnable():
        study.change(job_id, state=JobState.SUCCEEDED, result=result)
    study.step()
    assert isinstance(study.ended, Fail)
    assert study.ended.code == "no_student"
    assert study.ended.message.startswith("Candidates were trained to the end, but none has a file")


@pytest.mark.parametrize("kind", [JobKind.SCREEN, JobKind.TEACHER])
def test_a_failed_stage_fails_the_study(kind: JobKind) -> None:
    study = a_study([100, 200])
    while not any(trial.kind is kind for trial in study.trials.values()):
        study.step()
        if study.runnable() and study.trials[study.runnable()[0]].kind is not kind:
            study.finish(study.runnable()[0])
    job_id = next(trial.job_id for trial in study.trials.values() if trial.kind is kind)
    study.change(job_id, state=JobState.FAILED, failure="bad_checkpoint")
    study.step()
    assert isinstance(study.ended, Fail)
    assert study.ended.code == f"{kind}_failed"
    assert "bad_checkpoint" in study.ended.message


def test_without_device_hours_only_the_best_candidate_is_trained_to_the_end() -> None:
    study = a_study([100] * 9, replace(PLAN, device_hours=1.0, limits=Limits(accuracy=0.5)))
    study.device_hours = 2.0
    study.run(random.Random(0))
    assert study.stopped_at_rung == 1
    assert (
        sum(trial.state is JobState.SUCCEEDED and trial.kind is JobKind.DISTILL for trial in study.trials.values()) == 1
    )
    assert "device hours" in study.rejected[1].reason


@pytest.mark.parametrize(("used_up_after", "stopped_at", "finalists"), [(3, 2, [27]), (27, None, [27, 24, 4])])
def test_device_hours_that_are_used_up_change_nothing_that_was_decided_before(
    used_up_after: int, stopped_at: int | None, finalists: list[int]
) -> None:
    def accuracy(candidate: int, seed: int, epoch: int, baseline: bool) -> float:
        # After the first rung, another candidate is the best.
        first_rung = 0.5 * (candidate == 5) if epoch == 1 else 0.0
        return candidate / 100 + first_rung + 0.001 * seed - 0.1 * baseline

    study = Simulation(replace(PLAN, device_hours=1.0, seeds=3), candidates(list(range(100, 127))), accuracy)
    while study.ended is None:
        decision = study.step()
        if study.ended is None:
            study.finish(study.runnable()[0])
        trials = [trial for trial in study.trials.values() if trial.kind is JobKind.DISTILL]
        if any(used_up_after in trial.accuracies or trial.state is JobState.SUCCEEDED for trial in trials):
            study.device_hours = 2.0
    assert study.stopped_at_rung == stopped_at
    assert [rung.epoch for rung in decision.rungs] == [1, 3, 9][:stopped_at]
    assert decision.finalists == finalists
    assert isinstance(study.ended, Succeed)
    assert study.ended.recommendation.option.runs == (1 if stopped_at else 3)


def test_past_the_deadline_complete_runs_are_the_result() -> None:
    study = a_study([100, 200, 300])
    study.overdue = True
    study.step()
    assert isinstance(study.ended, Fail)
    assert study.ended.code == "deadline_exceeded"

    study = a_study([100, 200, 300])
    while not any(trial.result for trial in study.trials.values()):
        study.step()
        study.finish(study.runnable()[0])
    study.overdue = True
    study.step()
    assert isinstance(study.ended, Succeed)
    assert study.ended.recommendation.option.runs == 1


@pytest.mark.parametrize("screen_only", [True, False])
def test_a_study_whose_candidates_are_not_measured_at_the_deadline_says_so(screen_only: bool) -> None:
    study = a_study([100, 200], replace(PLAN, screen_only=screen_only))
    study.step()
    study.overdue = True
    study.step()
    assert study.ended == Fail("deadline_exceeded", "The deadline passed before the candidates were measured.")


def test_a_study_whose_last_job_ended_before_it_was_overdue_ends_as_without_a_deadline() -> None:
    study = a_study([100, 200, 300], replace(PLAN, screen_only=True))
    study.step()
    study.finish("job-0")
    study.overdue = True
    study.step()
    assert study.ended == Succeed(None)

    study = a_study([100], replace(PLAN, limits=Limits(bytes=10)))
    study.step()
    study.finish("job-0")
    study.overdue = True
    study.step()
    assert isinstance(study.ended, Fail)
    assert study.ended.code == "limits_unmet"


def test_the_budget_thins_students_by_size() -> None:
    study = a_study(list(range(100, 150)), replace(PLAN, candidates=3))
    study.run(random.Random(0))
    assert {number for number, reject in study.rejected.items() if reject.stage == "budget"} == set(range(1, 51)) - {
        1,
        25,
        50,
    }


def test_a_study_that_only_screens_trains_nothing() -> None:
    study = a_study([100, 200, 300], replace(PLAN, screen_only=True, limits=Limits(bytes=250, precision="fp32")))
    study.run(random.Random(0))
    assert study.ended == Succeed(None)
    assert [trial.kind for trial in study.trials.values()] == [JobKind.SCREEN]
    assert set(study.rejected) == {3}


def test_a_study_of_ten_students_costs_at_most_six_tenths_of_ten_jobs() -> None:
    study = a_study([100 + number for number in range(10)], replace(PLAN, epochs=30, seeds=1))
    study.run(random.Random(0))
    complete = [t for t in study.trials.values() if t.kind is JobKind.DISTILL and t.state is JobState.SUCCEEDED]
    stopped = [max(t.accuracies, default=0) for t in study.trials.values() if t.state is JobState.CANCELLED]
    assert len(complete) == 3 + 1  # the finalists, and the baseline
    assert 30 * len(complete) + sum(stopped) <= 0.6 * 10 * 30


def test_a_file_that_candidates_share_is_counted_once_while_a_device_measures_it() -> None:
    variants = [Variant(precision, 100, timing=Timing.REQUESTED) for precision in ("fp32", "int8")]
    shared = [Candidate(number, "student-1", Screen(parameters=25, variants=variants)) for number in (1, 2, 3)]
    plan = replace(PLAN, limits=Limits(accuracy=0.5, latency_ms=10), device="pi5")
    facts = Facts(plan, shared, [Trial("job-0", JobKind.SCREEN, JobState.SUCCEEDED)])
    assert decide(facts).unmeasured == 2
    (failure,) = decide(replace(facts, overdue=True)).actions
    assert isinstance(failure, Fail)
    assert "while 2 files waited for the device pi5" in failure.message
