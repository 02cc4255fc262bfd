"""The finals: the finalists train to the end with every seed, and the recommended student also without a teacher."""

from collections.abc import Sequence
from dataclasses import replace

from ttm_jobs.states import JobState
from ttm_jobs.studies.decision import Continue, Decision, Fail, Measure, Reject, Start, Succeed
from ttm_jobs.studies.facts import JobKind, Timing
from ttm_jobs.studies.rules import limits as limit_checks
from ttm_jobs.studies.rules.halving import schedule
from ttm_jobs.studies.rules.recommendation import recommend
from ttm_jobs.studies.runs import complete_runs, finalists_of, runs_of
from ttm_jobs.studies.stages.draft import Draft, how_ended

NO_KNOWN_ACCURACY = (
    "Candidates were trained to the end, but none has a file with a known accuracy that meets the limits on "
    "cost: their int8 files could not be exported."
)


def decide_finals(draft: Draft) -> Decision:
    plan = draft.facts.plan
    # Only the first run of the best candidate is worth its cost once the device hours are used up.
    seeds = 1 if draft.stopped_at_rung is not None else plan.seeds
    rung = len(schedule(len(draft.selected), plan.epochs, plan.seeds).epochs)
    if not _finish_runs(draft, draft.finalists, seeds, rung):
        return draft.done("finals")
    if unmeasured := _unmeasured_files(draft):
        return replace(draft.done("finals"), unmeasured=unmeasured)
    finalists = finalists_of(draft.facts, draft.finalists)
    recommendation = recommend(plan.goal, finalists, plan.limits)
    if recommendation is None:
        draft.actions.append(Fail("no_student", _why_no_student(draft)))
        return draft.done("finals")
    chosen = [recommendation.option.candidate]
    wants_baseline = plan.baseline and draft.stopped_at_rung is None
    if wants_baseline and not _finish_runs(draft, chosen, seeds, rung, baseline=True):
        return draft.done("baseline", recommendation)
    draft.actions.append(Succeed(recommendation))
    return draft.done("result", recommendation)


def _unmeasured_files(draft: Draft) -> int:
    """The number of trained int8 files that the device has to measure, because layers in float32 make them slower than
    the screened ones; adds the action for those it was not asked for.
    """
    limits = draft.facts.plan.limits
    waiting = [
        (trial.job_id, result.on_device)
        for finalist in finalists_of(draft.facts, draft.finalists)
        if any(each.precision == "int8" for each in limit_checks.fitting_variants(limits, finalist.screen))
        for trial, result in complete_runs(draft.facts, finalist.number)
        if result.int8_in_float and result.on_device in (Timing.MISSING, Timing.REQUESTED)
    ]
    missing = [job_id for job_id, timing in waiting if timing is Timing.MISSING]
    if missing:
        draft.actions.append(Measure(jobs=missing))
    return len(waiting)


def _why_no_student(draft: Draft) -> str:
    """Why finalists whose runs have ended give no recommendation."""
    if any(runs_of(draft.facts, number) for number in draft.finalists):
        return NO_KNOWN_ACCURACY
    reasons = sorted({trial.failure for trial in draft.facts.trials if trial.dead and trial.failure})
    return f"No candidate was trained to the end. {' '.join(reasons)}".strip()


def _finish_runs(draft: Draft, numbers: Sequence[int], seeds: int, rung: int, *, baseline: bool = False) -> bool:
    """Whether all complete runs of some candidates have ended; else adds the actions for them."""
    ended = True
    for number in numbers:
        alive, failures = False, set()
        for seed in range(seeds):
            trial = draft.find(JobKind.DISTILL, number, seed, baseline=baseline)
            if trial is None:
                draft.actions.append(Start(JobKind.DISTILL, number, seed, baseline, rung))
            elif trial.state is JobState.PAUSED:
                draft.actions.append(Continue(trial.job_id, rung, None))
            ended = ended and trial is not None and (trial.dead or trial.state is JobState.SUCCEEDED)
            alive = alive or trial is None or not trial.dead
            if trial is not None and trial.dead:
                failures.add(how_ended(trial, plural=True))
        if not alive and not baseline:
            draft.actions.append(Reject(number, "finals", f"all of its runs {'; '.join(sorted(failures))}"))
    return ended
