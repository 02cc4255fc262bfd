"""The complete runs of a study: those that trained a candidate to the end."""

from collections.abc import Sequence

from ttm_jobs.states import JobState
from ttm_jobs.studies.facts import Facts, FinalResult, JobKind, Trial
from ttm_jobs.studies.rules.recommendation import Finalist


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
