"""What the study pages compute: the limits in words, how far each candidate was trained, and its results so far."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from api.dashboard.formats import count, percent, precision_name, size
from api.studies.creation import searched_values
from api.studies.schemas import CandidateOut, StudyOut, StudySummary
from api.studies.validation import most_epochs_of
from api.words import listed
from ttm_core.spec.study.study import StudySpec
from ttm_jobs.states import JobState
from ttm_jobs.studies.states import ENDED


@dataclass(frozen=True)
class Trained:
    """How far a candidate was trained: to `epoch`, which is `width` per mille of all. `outcome` is final, stopped, or
    empty while it continues.
    """

    label: str
    epoch: int
    width: float
    outcome: str
    text: str


def timeline(study: StudyOut, candidates: Sequence[CandidateOut], epochs: int) -> list[Trained]:
    """The selected candidates, those that were trained longest first."""
    rows = []
    for candidate in candidates:
        if candidate.number not in study.selected:
            continue
        rungs = [rung for rung in study.rungs if str(candidate.number) in rung.accuracies]
        last = rungs[-1] if rungs else None
        if any(job.validation is not None and not job.baseline for job in candidate.jobs):
            epoch, outcome, text = epochs, "final", "final runs"
        elif last is not None and candidate.number not in last.promoted:
            epoch, outcome, text = last.epoch, "stopped", f"stopped after rung {last.rung}"
        elif study.state in ENDED:
            epoch, outcome, text = (last.epoch if last else 0), "stopped", "stopped"
        elif last is not None:
            epoch, outcome, text = last.epoch, "", "continues"
        else:
            training = any(job.state == JobState.RUNNING and not job.baseline for job in candidate.jobs)
            epoch, outcome, text = 0, "", "in training" if training else "waiting"
        rows.append(Trained(candidate.label, epoch, round(1000 * epoch / epochs, 1), outcome, text))
    return sorted(rows, key=lambda row: -row.epoch)


# The signs of the states, as in the badges of the pages.
SIGNS = {"rejected": "✕", "running": "▶", "queued": "○", "paused": "‖", "succeeded": "✓"}


def candidate_state(candidate: CandidateOut) -> str:
    """The state of a candidate: `rejected`, or that of its jobs."""
    if candidate.rejected is not None:
        return "rejected"
    states = {job.state for job in candidate.jobs if not job.baseline}
    for state in ("running", "paused", "succeeded"):
        if state in states and (state != "succeeded" or states <= {"succeeded", "failed", "cancelled"}):
            return state
    return "queued"


def trained_epochs(candidates: Sequence[CandidateOut], epochs: int) -> int:
    """The epochs that the jobs of a study have trained so far, to the ends of their rungs."""
    jobs = [job for candidate in candidates for job in candidate.jobs]
    return sum(epochs if job.validation is not None else max(map(int, job.accuracies), default=0) for job in jobs)


def most_epochs(study: StudyOut, candidates: int) -> int:
    """An upper bound of the epochs that the study trains."""
    return most_epochs_of(StudySpec.model_validate(study.spec), candidates)


def student_name(candidate: CandidateOut) -> str:
    """The label of a candidate without its values of the search space."""
    return candidate.label.removesuffix(searched_values(candidate.values))


def best_accuracy(candidate: CandidateOut) -> float | None:
    """The best validation accuracy of a candidate so far: of its complete runs, else at the end of its rungs."""
    jobs = [job for job in candidate.jobs if not job.baseline]
    complete = [job.validation for job in jobs if job.validation is not None]
    return max(complete or (value for job in jobs for value in job.accuracies.values()), default=None)


def least(candidate: CandidateOut, name: str, precision: str) -> float | None:
    """The least bytes or latency of a candidate's files in the precision that the limits apply to."""
    values = [getattr(file, name) for file in candidate.files if precision in ("any", file.precision)]
    return min((value for value in values if value is not None), default=None)


def limits_text(limits: Mapping[str, Any]) -> str:
    """The limits of a study in words."""
    device = f" on {limits['device']}" if limits.get("device", "worker") != "worker" else ""
    words: dict[str, Callable[[float], str]] = {
        "retention": lambda value: f"at least {100 * value:.4g}% of the teacher's accuracy",
        "accuracy": lambda value: f"at least {percent(value)} accuracy",
        "bytes": lambda value: f"at most {size(value)}",
        "latency_ms": lambda value: f"at most {value:g} ms{device}",
        "macs": lambda value: f"at most {count(round(value))} MACs",
        "parameters": lambda value: f"at most {count(round(value))} parameters",
    }
    parts = [describe(limits[name]) for name, describe in words.items() if limits.get(name) is not None]
    form = "" if limits.get("precision", "any") == "any" else f", as {precision_name(limits['precision'])}"
    return listed(parts) + form


_GOALS = {"smallest": "smallest", "fastest": "fastest", "most_accurate": "most accurate"}


def goal_text(study: StudySummary) -> str:
    """What a study searches, as a sentence without its period."""
    limits = limits_text(study.limits)
    return f"The {_GOALS[study.goal]} student{f' with {limits}' if limits else ''}"
