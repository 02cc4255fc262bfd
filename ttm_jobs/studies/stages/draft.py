"""A decision in the making, which the stages add actions to."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from ttm_jobs.states import JobState
from ttm_jobs.studies.decision import Action, Continue, Decision, Fail, RungDecision, Stage, Start
from ttm_jobs.studies.facts import Facts, JobKind, Trial
from ttm_jobs.studies.rules.recommendation import Recommendation


@dataclass
class Draft:
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
        """The job with this purpose, if it was created."""
        key = (kind, candidate, seed, baseline)
        return next((t for t in self.facts.trials if (t.kind, t.candidate, t.seed, t.baseline) == key), None)


def finish_job(draft: Draft, kind: JobKind, what: str) -> bool:
    """Whether the only job of a stage has succeeded; else adds the action for it."""
    job = draft.find(kind)
    if job is None:
        draft.actions.append(Start(kind))
    elif job.dead:
        draft.actions.append(Fail(f"{kind}_failed", f"The job for {what} {how_ended(job)}"))
    elif job.state is JobState.PAUSED:
        draft.actions.append(Continue(job.job_id, 0, None))
    return job is not None and job.state is JobState.SUCCEEDED


def how_ended(job: Trial, *, plural: bool = False) -> str:
    """How a job, or several, ended without a student, as the end of a sentence."""
    if job.failure is not None:
        return f"{job.state}: {job.failure}"
    return f"{'were' if plural else 'was'} {job.state}"
