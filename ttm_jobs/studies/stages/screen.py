"""The screening: which candidates meet the limits on cost, and which of them the budget allows to train."""

from collections.abc import Sequence
from dataclasses import replace

from ttm_jobs.studies.decision import Measure, Reject
from ttm_jobs.studies.facts import PRECISION_NAMES, Candidate, Timing, Variant
from ttm_jobs.studies.rules import limits as limit_checks
from ttm_jobs.studies.rules.limits import NearMiss
from ttm_jobs.studies.rules.selection import select
from ttm_jobs.studies.stages.draft import Draft


def count_unmeasured(draft: Draft) -> int:
    """The number of files that the device has to measure; adds the action for those it was not asked for.

    Files that miss other limits are not measured.
    """
    waiting = waiting_files(draft)
    missing = [
        (candidate.number, variant.precision) for candidate, variant in waiting if variant.timing is Timing.MISSING
    ]
    if missing:
        draft.actions.append(Measure(missing))
    return count_files(waiting)


def count_files(variants: Sequence[tuple[Candidate, Variant]]) -> int:
    """The number of files to measure: candidates with equal students share theirs."""
    return len({(candidate.student, variant.precision) for candidate, variant in variants})


def waiting_files(draft: Draft) -> list[tuple[Candidate, Variant]]:
    """The candidates with their files that the device has to measure."""
    others = replace(draft.facts.plan.limits, latency_ms=None)
    return [
        (candidate, variant)
        for candidate in draft.facts.candidates
        if candidate.screen is not None and candidate.screen.error is None
        for variant in limit_checks.fitting_variants(others, candidate.screen)
        if variant.timing is not Timing.DONE
    ]


def feasible_candidates(draft: Draft) -> list[Candidate]:
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


def select_candidates(draft: Draft, feasible: Sequence[Candidate]) -> list[int]:
    budget = draft.facts.plan.candidates
    selected = select(feasible, budget)
    draft.actions += [
        Reject(each.number, "budget", f"the budget allows {budget} candidates")
        for each in feasible
        if each.number not in selected
    ]
    return selected


def describe_unmet(nearest: Sequence[NearMiss], candidates: Sequence[Candidate]) -> str:
    names = {candidate.number: candidate.label or candidate.student for candidate in candidates}
    closest = "; ".join(
        f"{names[each.candidate]} ({PRECISION_NAMES[each.variant.precision]}): {', '.join(map(str, each.misses))}"
        for each in nearest
    )
    return "No candidate meets the limits." + (f" The nearest are {closest}." if closest else "")
