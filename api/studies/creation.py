"""What a study's rows contain at its creation: the plan that decides, and the candidates."""

import hashlib
from collections.abc import Mapping, Sequence

from ttm_core.spec.job import StudentSpec
from ttm_core.spec.student.details import details
from ttm_core.spec.study.study import CandidateSpec, StudySpec
from ttm_jobs.repositories.studies.crud import NewCandidate
from ttm_jobs.studies.facts import Limits, Plan

_LONGEST_LABEL = 200


def plan_of(spec: StudySpec) -> Plan:
    """The part of a spec that decides."""
    limits = spec.limits
    return Plan(
        goal=spec.resolved_goal,
        limits=Limits(
            retention=limits.retention,
            accuracy=limits.accuracy,
            bytes=limits.bytes,
            latency_ms=limits.latency_ms,
            macs=limits.macs,
            parameters=limits.parameters,
            precision=spec.resolved_precision,
        ),
        epochs=spec.training.epoch_count,
        seeds=spec.seeds,
        candidates=spec.budget.candidates,
        baseline=spec.baseline,
        stored_logits=spec.method.requirements.stored_logits_suffice and spec.training.teacher_logits != "online",
        screen_only=spec.screen_only,
        device_hours=spec.budget.device_hours,
        device=None if limits.device == "worker" else limits.device,
    )


def new_candidates(candidates: Sequence[CandidateSpec]) -> list[NewCandidate]:
    """The rows of candidates. Equal students have equal keys, so that each is measured once."""
    return [
        NewCandidate(_key(each.student), label(each), each.student.model_dump(mode="json"), dict(each.values))
        for each in candidates
    ]


def label(candidate: CandidateSpec) -> str:
    """A candidate in words: its architecture or origin, its other fields that are not defaults, and its values."""
    student = candidate.student
    pruned = f"teacher pruned to {student.prune.target}" if student.prune is not None else ""
    name = student.architecture or student.checkpoint or pruned
    return (", ".join([name, *details(student)]) + searched_values(candidate.values))[:_LONGEST_LABEL]


def searched_values(values: Mapping[str, object]) -> str:
    """The end of a candidate's label: `, learning rate 0.1, beta 2`; empty without a search space."""
    return "".join(f", {path.rpartition('.')[2].replace('_', ' ')} {value}" for path, value in values.items())


def _key(student: StudentSpec) -> str:
    return hashlib.sha256(student.model_dump_json().encode()).hexdigest()
