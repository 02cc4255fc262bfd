"""The decisions of a study: a pure function of its facts.

Stages: screen, teacher, rungs, finals, baseline, result. A decision lists the actions that are missing, so that
deciding again before they are applied, or after they were applied twice, changes nothing.
"""

from dataclasses import replace

from ttm_jobs.states import JobState
from ttm_jobs.studies.decision import Decision, Fail, Succeed
from ttm_jobs.studies.facts import Facts, JobKind, Timing
from ttm_jobs.studies.rules import limits as limit_checks
from ttm_jobs.studies.rules.recommendation import recommend
from ttm_jobs.studies.runs import finalists_of, runs_of
from ttm_jobs.studies.stages.draft import Draft, finish_job
from ttm_jobs.studies.stages.finals import NO_KNOWN_ACCURACY, decide_finals
from ttm_jobs.studies.stages.rungs import decide_rungs
from ttm_jobs.studies.stages.screen import (
    count_files,
    count_unmeasured,
    describe_unmet,
    feasible_candidates,
    select_candidates,
    waiting_files,
)


def decide(facts: Facts) -> Decision:
    """The next actions of a study. Depends on nothing but the facts."""
    draft = Draft(facts, stopped_at_rung=facts.stopped_at_rung)
    if facts.overdue:
        return _decide_overdue(draft)
    if not finish_job(draft, JobKind.SCREEN, "screening"):
        return draft.done("screen")
    if facts.plan.device is not None and (unmeasured := count_unmeasured(draft)):
        return replace(draft.done("screen"), unmeasured=unmeasured)
    feasible = feasible_candidates(draft)
    if not feasible:
        nearest = limit_checks.nearest_misses(facts.plan.limits, facts.candidates)
        draft.actions.append(Fail("limits_unmet", describe_unmet(nearest, facts.candidates), nearest))
        return draft.done("screen")
    if facts.plan.screen_only:
        draft.selected = [each.number for each in feasible]
        draft.actions.append(Succeed(None))
        return draft.done("screen")
    draft.selected = select_candidates(draft, feasible)
    if facts.plan.stored_logits and not finish_job(draft, JobKind.TEACHER, "storing the teacher's logits"):
        return draft.done("teacher")
    finalists = decide_rungs(draft)
    if finalists is None:
        return draft.done("rungs")
    draft.finalists = finalists
    return decide_finals(draft)


def _decide_overdue(draft: Draft) -> Decision:
    """Past the deadline, complete runs still give a result. What was decided before it stays.

    A study whose jobs have ended ends as without a deadline.
    """
    plan, facts = draft.facts.plan, draft.facts
    reached = decide(replace(facts, overdue=False))
    if any(isinstance(action, Succeed | Fail) for action in reached.actions):
        return reached
    draft.selected, draft.rungs = reached.selected, list(reached.rungs)
    complete = [each.number for each in facts.candidates if each.screen is not None and runs_of(facts, each.number)]
    draft.finalists = complete
    recommendation = recommend(plan.goal, finalists_of(facts, complete), plan.limits)
    if recommendation is None:
        draft.actions.append(Fail("deadline_exceeded", _why_overdue(draft)))
        return draft.done("result")
    draft.actions.append(Succeed(recommendation))
    return draft.done("result", recommendation)


def _why_overdue(draft: Draft) -> str:
    plan, waiting = draft.facts.plan, [each for each in waiting_files(draft) if each[1].timing is Timing.REQUESTED]
    if plan.device is None or not waiting:
        screened = any(each.kind is JobKind.SCREEN and each.state is JobState.SUCCEEDED for each in draft.facts.trials)
        if not screened:
            return "The deadline passed before the candidates were measured."
        if draft.finalists:
            return f"The deadline passed. {NO_KNOWN_ACCURACY}"
        return "The deadline passed before a student was trained."
    return (
        f"The deadline passed while {count_files(waiting)} files waited for the device {plan.device}: run `ttm bench "
        f"--agent --device-name {plan.device}` on it and submit the study again."
    )
