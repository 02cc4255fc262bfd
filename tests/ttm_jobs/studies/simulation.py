"""Simulates the jobs of a study: applies its actions and lets its jobs end in any order."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from ttm_jobs.states import TERMINAL, JobState
from ttm_jobs.studies.decide import decide
from ttm_jobs.studies.decision import Continue, Decision, Fail, Reject, Start, Succeed
from ttm_jobs.studies.facts import Candidate, Facts, FinalResult, JobKind, Plan, Screen, Trial, Variant

Accuracy = Callable[[int, int, int, bool], float]
"""Validation accuracy by candidate, seed, epoch and whether it is the baseline."""

RUNNABLE = (JobState.QUEUED, JobState.RUNNING)


def screen(size: int, latency_ms: float | None = 1.0) -> Screen:
    """A candidate with a float32 file of `size` bytes and an int8 file of a quarter."""
    variants = (Variant("fp32", size, latency_ms), Variant("int8", size // 4, latency_ms))
    return Screen(parameters=size // 4, macs=size, variants=variants)


def candidates(sizes: Sequence[int]) -> list[Candidate]:
    return [Candidate(number, f"student-{number}", screen(size)) for number, size in enumerate(sizes, start=1)]


@dataclass
class Simulation:
    """A study whose jobs have results by a function. `fails` are the trials (candidate, seed) that fail."""

    plan: Plan
    screened: Sequence[Candidate]
    accuracy: Accuracy
    fails: frozenset[tuple[int, int]] = frozenset()
    trials: dict[str, Trial] = field(default_factory=dict)
    pause_after: dict[str, int | None] = field(default_factory=dict)
    rejected: dict[int, Reject] = field(default_factory=dict)
    ended: Succeed | Fail | None = None
    overdue: bool = False
    stopped_at_rung: int | None = None
    device_hours: float = 0.0

    def facts(self) -> Facts:
        known = any(t.kind is JobKind.SCREEN and t.state is JobState.SUCCEEDED for t in self.trials.values())
        shown = self.screened if known else [replace(each, screen=None) for each in self.screened]
        return Facts(
            self.plan, shown, list(self.trials.values()), self.device_hours, self.stopped_at_rung, self.overdue
        )

    def step(self) -> Decision:
        """Decides and applies all actions."""
        decision = decide(self.facts())
        self.stopped_at_rung = decision.stopped_at_rung
        for action in decision.actions:
            match action:
                case Start():
                    job_id = f"job-{len(self.trials)}"
                    self.trials[job_id] = Trial(
                        job_id,
                        action.kind,
                        JobState.QUEUED,
                        action.candidate,
                        action.seed,
                        action.baseline,
                        action.rung,
                    )
                    self.pause_after[job_id] = action.pause_after
                case Continue():
                    self.change(action.job_id, state=JobState.QUEUED, rung=action.rung)
                    self.pause_after[action.job_id] = action.pause_after
                case Reject():
                    if action.candidate not in self.rejected:
                        self.rejected[action.candidate] = action
                        for trial in list(self.trials.values()):
                            if trial.candidate == action.candidate and trial.state not in TERMINAL:
                                self.change(trial.job_id, state=JobState.CANCELLED)
                case Succeed() | Fail():
                    self.ended = action
        return decision

    def change(self, job_id: str, **fields: object) -> None:
        self.trials[job_id] = replace(self.trials[job_id], **fields)

    def runnable(self) -> list[str]:
        return [job_id for job_id, trial in self.trials.items() if trial.state in RUNNABLE]

    def finish(self, job_id: str) -> None:
        """Runs a job to its end, or to the epoch at which it pauses itself."""
        trial, limit = self.trials[job_id], self.pause_after[job_id]
        if trial.kind is not JobKind.DISTILL:
            self.change(job_id, state=JobState.SUCCEEDED)
        elif (trial.candidate, trial.seed) in self.fails:
            self.change(job_id, state=JobState.FAILED, failure="bad_dataset")
        elif limit is not None:
            reached = self.accuracy(trial.candidate, trial.seed, limit, trial.baseline)
            self.change(job_id, state=JobState.PAUSED, accuracies={**trial.accuracies, limit: reached})
        else:
            final = self.accuracy(trial.candidate, trial.seed, self.plan.epochs, trial.baseline)
            result = FinalResult(validation=final, teacher_validation=1.0, test=final, int8_change=0.0)
            self.change(job_id, state=JobState.SUCCEEDED, result=result)

    def run(self, order: random.Random) -> None:
        """Runs the study to its end, finishing jobs in random order and deciding after each."""
        for _ in range(5000):
            self.step()
            if self.ended is not None:
                return
            runnable = self.runnable()
            assert runnable, "the study waits for nothing"
            self.finish(order.choice(runnable))
        raise AssertionError("the study does not end")

    def epochs_of_rungs(self) -> int:
        """The epochs trained up to the last rung."""
        return sum(max(trial.accuracies, default=0) for trial in self.trials.values())
