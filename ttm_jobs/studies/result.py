"""A study's decisions and result as JSON, as they are stored and as the API returns them."""

from dataclasses import asdict
from typing import Any

from ttm_jobs.states import JobState
from ttm_jobs.studies.decision import Decision
from ttm_jobs.studies.facts import Facts, JobKind
from ttm_jobs.studies.rules.recommendation import (
    Baseline,
    Comparison,
    Option,
    Recommendation,
    baseline_of,
    front,
    options,
)
from ttm_jobs.studies.rules.statistics import Difference
from ttm_jobs.studies.runs import complete_runs, finalists_of, runs_of

Json = dict[str, Any]


def decisions_json(decision: Decision) -> Json:
    """Everything that was decided so far. Equal facts give equal JSON, so a replay compares it."""
    return {
        "selected": list(decision.selected),
        "rungs": [
            {
                "rung": rung.rung,
                "epoch": rung.epoch,
                "accuracies": {str(number): value for number, value in sorted(rung.accuracies.items())},
                "promoted": list(rung.promoted),
            }
            for rung in decision.rungs
        ],
        "finalists": list(decision.finalists),
        "recommendation": None if decision.recommendation is None else _recommendation(decision.recommendation),
    }


def result_json(facts: Facts, decision: Decision, *, teacher_forwards: int, teacher_cache_hits: int) -> Json:
    """The result of a study that has ended with a recommendation."""
    assert decision.recommendation is not None, "the study has a recommendation"
    chosen = decision.recommendation.option
    finalists = finalists_of(facts, decision.finalists)
    found = options(finalists, facts.plan.limits)
    recommended = next(each for each in finalists if each.number == chosen.candidate)
    alone = runs_of(facts, chosen.candidate, baseline=True)
    return {
        "recommendation": {
            **_recommendation(decision.recommendation),
            "job": _best_job(facts, chosen),
        },
        "front": [_option(option) for option in front(found)],
        "options": [_option(option) for option in found],
        "baseline": _baseline(baseline_of(recommended, chosen.precision, alone)),
        "candidates_tried": len(_compared(facts, decision)),
        "costs": _costs(facts, decision)
        | {"teacher_forwards": teacher_forwards, "teacher_cache_hits": teacher_cache_hits},
    }


def _compared(facts: Facts, decision: Decision) -> set[int]:
    """The candidates with a compared validation accuracy: not those with jobs that failed before."""
    in_rungs = {number for rung in decision.rungs for number in rung.accuracies}
    return in_rungs | {number for number in decision.finalists if runs_of(facts, number)}


def _recommendation(found: Recommendation) -> Json:
    return {
        **_option(found.option),
        "meets_limits": found.meets_limits,
        "fell_to_cheaper": found.fell_to_cheaper,
        "comparisons": [_comparison(each) for each in found.comparisons],
    }


def _option(option: Option) -> Json:
    return asdict(option)


def _comparison(comparison: Comparison) -> Json:
    return {"candidate": comparison.candidate, "difference": _difference(comparison.difference)}


def _difference(difference: Difference | None) -> Json | None:
    return None if difference is None else {**asdict(difference), "shown": difference.shown}


def _baseline(baseline: Baseline) -> Json:
    return {**asdict(baseline), "difference": _difference(baseline.difference)}


def _best_job(facts: Facts, chosen: Option) -> str | None:
    """The run of the recommended candidate whose file has the best validation accuracy; the first seed among equals."""
    runs = [
        (result.validation_of(chosen.precision), trial.job_id)
        for trial, result in complete_runs(facts, chosen.candidate)
        if result.has(chosen.precision)
    ]
    best = max(runs, key=lambda run: run[0], default=None)
    return None if best is None else best[1]


def _costs(facts: Facts, decision: Decision) -> Json:
    epochs = facts.plan.epochs
    trained = in_rungs = 0
    for trial in facts.trials:
        if trial.kind is JobKind.DISTILL:
            reached = max(trial.accuracies, default=0)
            trained += epochs if trial.state is JobState.SUCCEEDED else reached
            in_rungs += reached
    return {
        "device_hours": round(facts.device_hours, 6),
        "epochs_trained": trained,
        "epochs_in_rungs": in_rungs,
        # Compared with training every selected candidate to the end once.
        "epochs_saved": max(len(decision.selected) - len(decision.finalists), 0) * epochs
        - sum(
            max(trial.accuracies, default=0)
            for trial in facts.trials
            if trial.kind is JobKind.DISTILL and trial.candidate not in decision.finalists
        ),
    }
