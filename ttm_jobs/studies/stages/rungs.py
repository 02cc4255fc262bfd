"""The rungs of successive halving: candidates train to an epoch and pause, and the best of them go on."""

from collections.abc import Sequence

from ttm_jobs.states import JobState
from ttm_jobs.studies.decision import Continue, Reject, RungDecision, Start
from ttm_jobs.studies.facts import Facts, JobKind
from ttm_jobs.studies.rules import limits as limit_checks
from ttm_jobs.studies.rules.halving import Entry, promote, schedule
from ttm_jobs.studies.stages.draft import Draft, how_ended


def decide_rungs(draft: Draft) -> list[int] | None:
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


def _finish_rung(draft: Draft, active: Sequence[int], rung: int, epoch: int) -> dict[int, float] | None:
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
            draft.actions.append(Reject(number, "rungs", f"its job {how_ended(trial)}"))
        else:
            waiting = True
            if trial.state is JobState.PAUSED:
                draft.actions.append(Continue(trial.job_id, rung, epoch))
    return None if waiting else accuracies


def _sizes(draft: Draft) -> dict[int, int]:
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
    reason = f"validation accuracy of {accuracy:.2%} after epoch {epoch} was not among the best of rung {rung}"
    return reason if stopped_at is None else f"{reason}; the device hours are used up"
