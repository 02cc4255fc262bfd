"""The decisions of a study: a pure function of its facts.

Stages: screen, teacher, rungs, finals, baseline, result. A decision lists the actions that are missing, so that
deciding again before they are applied, or after they were applied twice, changes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ttm_jobs.states import JobState
from ttm_jobs.studies.decision import (
    Action,
    Continue,
    Decision,
    Fail,
    Measure,
    Reject,
    RungDecision,
    Stage,
    Start,
    Succeed,
)
from ttm_jobs.studies.facts import Candidate, Facts, FinalResult, JobKind, Timing, Trial, Variant
from ttm_jobs.studies.rules import limits as limit_checks
from ttm_jobs.studies.rules.halving import Entry, promote, schedule
from ttm_jobs.studies.rules.limits import NearMiss
from ttm_jobs.studies.rules.recommendation import Finalist, Recommendation, recommend
from ttm_jobs.studies.rules.selection import select

_NO_KNOWN_ACCURACY = (
    "Candidates were trained to the end, but none has a file that meets the limits on cost and whose accuracy is "
    "known: their int8 files could not be exported."
)


@dataclass
class _Draft:
    """A decision in the making."""

    facts: Facts
    actions: list[Action] = field(default_factory=list)
    selected: Sequence[int] = ()
    rungs: list[RungDecision] = field(default_factory=list)
    finalists: Sequence[int] = ()
    stopped_at_rung: int | None = None

    def done(self, stage: Stage, recommendation: Recommendation | None = None) -> Decision:
        return Decision(
            stage, self.actions, self.selected, self.rungs, self.finalists, recommendation, self.stopped_at_rung
        )

    def find(self, kind: JobKind, candidate: int = 0, seed: int = 0, *, baseline: bool = False) -> Trial | None:
        key = (kind, candidate, seed, baseline)
        return next((t for t in self.facts.trials if (t.kind, t.candidate, t.seed, t.baseline) == key), None)


def decide(facts: Facts) -> Decision:
    """The next actions of a study. Depends on nothing but the facts."""
    draft = _Draft(facts, stopped_at_rung=facts.stopped_at_rung)
    if facts.overdue:
        return _decide_overdue(draft)
    if not _single_job(draft, JobKind.SCREEN, "screening"):
        return draft.done("screen")
    if facts.plan.device is not None and (unmeasured := _unmeasured(draft)):
        return replace(draft.done("screen"), unmeasured=unmeasured)
    feasible = _feasible(draft)
    if not feasible:
        nearest = limit_checks.nearest_misses(facts.plan.limits, facts.candidates)
        draft.actions.append(Fail("limits_unmet", _unmet(nearest, facts.candidates), nearest))
        return draft.done("screen")
    if facts.plan.screen_only:
        draft.selected = [each.number for each in feasible]
        draft.actions.append(Succeed(None))
        return draft.done("screen")
    draft.selected = _select(draft, feasible)
    if facts.plan.stored_logits and not _single_job(draft, JobKind.TEACHER, "storing the teacher's logits"):
        return draft.done("teacher")
    finalists = _decide_rungs(draft)
    if finalists is None:
        return draft.done("rungs")
    draft.finalists = finalists
    return _decide_finals(draft)


def _single_job(draft: _Draft, kind: JobKind, what: str) -> bool:
    """Whether the only job of a stage has succeeded; else adds the action for it."""
    job = draft.find(kind)
    if job is None:
        draft.actions.append(Start(kind))
    elif job.dead:
        draft.actions.append(Fail(f"{kind}_failed", f"The job for {what} {_ended(job)}"))
    elif job.state is JobState.PAUSED:
        draft.actions.append(Continue(job.job_id, 0, None))
    return job is not None and job.state is JobState.SUCCEEDED


def _ended(job: Trial, *, plural: bool = False) -> str:
    """How a job, or several, ended without a student, as the end of a sentence."""
    if job.failure is not None:
        return f"{job.state}: {job.failure}"
    return f"{'were' if plural else 'was'} {job.state}"


def _unmeasured(draft: _Draft) -> int:
    """The number of files that the device has to measure; adds the action for those it was not asked for.

    Files that miss other limits are not measured.
    """
    waiting = _waiting(draft)
    missing = [
        (candidate.number, variant.precision) for candidate, variant in waiting if variant.timing is Timing.MISSING
    ]
    if missing:
        draft.actions.append(Measure(missing))
    return _count_files(waiting)


def _count_files(variants: Sequence[tuple[Candidate, Variant]]) -> int:
    """The number of files to measure: candidates with equal students share theirs."""
    return len({(candidate.student, variant.precision) for candidate, variant in variants})


def _waiting(draft: _Draft) -> list[tuple[Candidate, Variant]]:
    """The candidates with their files that the device has to measure."""
    others = replace(draft.facts.plan.limits, latency_ms=None)
    return [
        (candidate, variant)
        for candidate in draft.facts.candidates
        if candidate.screen is not None and candidate.screen.error is None
        for variant in limit_checks.fitting_variants(others, candidate.screen)
        if variant.timing is not Timing.DONE
    ]


def _feasible(draft: _Draft) -> list[Candidate]:
    feasible = []
    for candidate in draft.facts.candidates:
        reason = "it was not measured"
        if candidate.screen is not None:
            reason = limit_checks.rejection(draft.facts.plan.limits, candidate.screen) or ""
        if reason:
            draft.actions.append(Reject(candidate.number, "screen", reason))
        else:
            feasible.append(candidate)
    return feasible


def _select(draft: _Draft, feasible: Sequence[Candidate]) -> list[int]:
    budget = draft.facts.plan.candidates
    selected = select(feasible, budget)
    draft.actions += [
        Reject(each.number, "budget", f"the budget allows {budget} candidates")
        for each in feasible
        if each.number not in selected
    ]
    return selected


def _decide_rungs(draft: _Draft) -> list[int] | None:
    """The finalists; None while a rung is running."""
    plan = draft.facts.plan
    sizes = _sizes(draft)
    active = list(draft.selected)
    rungs = schedule(len(active), plan.epochs, plan.seeds)
    for rung, (epoch, share, most) in enumerate(zip(rungs.epochs, rungs.shares, rungs.most, strict=True)):
        accuracies = _finish_rung(draft, active, rung, epoch)
        if accuracies is None:
            return None
        if draft.stopped_at_rung is None and _hours_used_up(draft.facts) and not _started_after(draft.facts, rung):
            draft.stopped_at_rung = rung + 1
        stopped = draft.stopped_at_rung is not None and draft.stopped_at_rung <= rung + 1
        entries = [Entry(number, sizes[number], accuracy) for number, accuracy in accuracies.items()]
        promoted = promote(entries, 1 if stopped else most, share) if entries else []
        draft.rungs.append(RungDecision(rung, epoch, accuracies, promoted))
        draft.actions += [
            Reject(number, "rungs", _eliminated(accuracy, epoch, rung, draft.stopped_at_rung if stopped else None))
            for number, accuracy in accuracies.items()
            if number not in promoted
        ]
        active = promoted
        if stopped:
            break
    return active


def _finish_rung(draft: _Draft, active: Sequence[int], rung: int, epoch: int) -> dict[int, float] | None:
    """The validation accuracies at the end of a rung; None while one of its trials has not ended."""
    waiting, accuracies = False, {}
    for number in active:
        trial = draft.find(JobKind.DISTILL, number)
        if trial is None:
            draft.actions.append(Start(JobKind.DISTILL, number, rung=rung, pause_after=epoch))
            waiting = True
        elif epoch in trial.accuracies:
            accuracies[number] = trial.accuracies[epoch]
        elif trial.dead:
            draft.actions.append(Reject(number, "rungs", f"its job {_ended(trial)}"))
        else:
            waiting = True
            if trial.state is JobState.PAUSED:
                draft.actions.append(Continue(trial.job_id, rung, epoch))
    return None if waiting else accuracies


def _decide_finals(draft: _Draft) -> Decision:
    plan = draft.facts.plan
    # Only the first run of the best candidate is worth its cost once the device hours are used up.
    seeds = 1 if draft.stopped_at_rung is not None else plan.seeds
    rung = len(schedule(len(draft.selected), plan.epochs, plan.seeds).epochs)
    if not _finish_runs(draft, draft.finalists, seeds, rung):
        return draft.done("finals")
    if unmeasured := _unmeasured_finals(draft):
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


def _unmeasured_finals(draft: _Draft) -> int:
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


def _why_no_student(draft: _Draft) -> str:
    """Why finalists whose runs have ended give no recommendation."""
    if any(runs_of(draft.facts, number) for number in draft.finalists):
        return _NO_KNOWN_ACCURACY
    reasons = sorted({trial.failure for trial in draft.facts.trials if trial.dead and trial.failure})
    return f"No candidate was trained to the end. {' '.join(reasons)}".strip()


def _finish_runs(draft: _Draft, numbers: Sequence[int], seeds: int, rung: int, *, baseline: bool = False) -> bool:
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
                failures.add(_ended(trial, plural=True))
        if not alive and not baseline:
            draft.actions.append(Reject(number, "finals", f"all of its runs {'; '.join(sorted(failures))}"))
    return ended


def finalists_of(facts: Facts, numbers: Sequence[int]) -> list[Finalist]:
    """The finalists with the results of their complete runs."""
    screens = {candidate.number: candidate.screen for candidate in facts.candidates}
    found = []
    for number in numbers:
        screen = screens[number]
        assert screen is not None, "only measured candidates are trained"
        found.append(Finalist(number, screen, runs_of(facts, number)))
    return found


def runs_of(facts: Facts, number: int, *, baseline: bool = False) -> dict[int, FinalResult]:
    """The results of a candidate's complete runs by seed."""
    return {trial.seed: result for trial, result in complete_runs(facts, number, baseline=baseline)}


def complete_runs(facts: Facts, number: int, *, baseline: bool = False) -> list[tuple[Trial, FinalResult]]:
    """A candidate's complete runs with their results, by seed."""
    return [
        (trial, trial.result)
        for trial in sorted(facts.trials, key=lambda each: each.seed)
        if trial.kind is JobKind.DISTILL
        and (trial.candidate, trial.baseline) == (number, baseline)
        and trial.state is JobState.SUCCEEDED
        and trial.result is not None
    ]


def _decide_overdue(draft: _Draft) -> Decision:
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


def _why_overdue(draft: _Draft) -> str:
    plan, waiting = draft.facts.plan, [each for each in _waiting(draft) if each[1].timing is Timing.REQUESTED]
    if plan.device is None or not waiting:
        screened = any(each.kind is JobKind.SCREEN and each.state is JobState.SUCCEEDED for each in draft.facts.trials)
        if not screened:
            return "The deadline passed before the candidates were measured."
        if draft.finalists:
            return f"The deadline passed. {_NO_KNOWN_ACCURACY}"
        return "The deadline passed before a student was trained."
    return (
        f"The deadline passed while {_count_files(waiting)} files waited for the device {plan.device}: run `ttm bench "
        f"--agent --device-name {plan.device}` on it and submit the study again."
    )


def _sizes(draft: _Draft) -> dict[int, int]:
    limits = draft.facts.plan.limits
    return {
        each.number: limit_checks.size(limits, each.screen)
        for each in draft.facts.candidates
        if each.number in draft.selected and each.screen is not None
    }


def _hours_used_up(facts: Facts) -> bool:
    return facts.plan.device_hours is not None and facts.device_hours >= facts.plan.device_hours


def _started_after(facts: Facts, rung: int) -> bool:
    """Whether a later rung, or the final, has started: what was decided at the end of a rung stays."""
    return any(trial.kind is JobKind.DISTILL and trial.rung > rung for trial in facts.trials)


def _eliminated(accuracy: float, epoch: int, rung: int, stopped_at: int | None) -> str:
    reason = f"validation accuracy {accuracy:.4f} after epoch {epoch} was not among the best of rung {rung}"
    return reason if stopped_at is None else f"{reason}; the device hours are used up"


def _unmet(nearest: Sequence[NearMiss], candidates: Sequence[Candidate]) -> str:
    names = {candidate.number: candidate.label or candidate.student for candidate in candidates}
    closest = "; ".join(
        f"{names[each.candidate]} ({each.variant.precision}): {', '.join(map(str, each.misses))}" for each in nearest
    )
    return "No candidate meets the limits." + (f" The nearest are {closest}." if closest else "")
