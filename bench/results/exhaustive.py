"""Whether a study chooses what training every candidate to the end would choose, on digits.

A trial of a study is bit-identical to the start of a full run, so the study's choice is computed from the full runs:
the scheduler's own decision function gets their accuracies at the ends of the rungs. Runs use the engine without the
service.
"""

import tempfile
from base64 import b64decode
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from bench.results.record import Record, Run
from cli.demo import data
from ttm_core.pipeline.distill import distill
from ttm_core.spec.events import Event, Metrics
from ttm_core.spec.job import DistillSpec
from ttm_core.spec.study.run_options import RunOptions
from ttm_core.teacher_store.store import Stores
from ttm_jobs.states import JobState
from ttm_jobs.studies.decide import decide
from ttm_jobs.studies.facts import Candidate, Facts, FinalResult, JobKind, Limits, Plan, Screen, Trial, Variant
from ttm_jobs.studies.rules.halving import schedule
from ttm_jobs.studies.rules.recommendation import recommend
from ttm_jobs.studies.rules.statistics import paired_bootstrap
from ttm_jobs.studies.runs import finalists_of

_STUDENTS = ("mini/resnet8_025", "mini/resnet8_050", "mini/resnet8_100")
_RATES = (0.02, 0.05, 0.1)
_CANDIDATES = [(student, rate) for student in _STUDENTS for rate in _RATES]
_PLAN = Plan(goal="smallest", limits=Limits(retention=0.95), epochs=9, seeds=1, baseline=False)
_RUNGS = schedule(len(_CANDIDATES), _PLAN.epochs, _PLAN.seeds).epochs


def run_exhaustive(record: Record, repetitions: int) -> None:
    """Adds the missing repetitions to the record: the accuracies of all candidates, and both choices."""
    record.content |= {
        "candidates": [f"{student}, learning rate {rate:g}" for student, rate in _CANDIDATES],
        "epochs": _PLAN.epochs,
        "rungs": list(_RUNGS),
        "retention": _PLAN.limits.retention,
    }
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        images = data.digits(work).folder
        teacher = _teacher(images, work / "teacher")
        for repetition in range(len(record.runs), repetitions):
            runs = [_train(images, teacher, number, repetition, work) for number in range(1, len(_CANDIDATES) + 1)]
            correct = {run["number"]: run.pop("correct") for run in runs}
            study, full = _choices(runs)
            chosen = {"study": study, "full": full}
            difference = asdict(paired_bootstrap(correct[study], correct[full])) if study != full else None
            record.add({"seed": repetition, **chosen, "difference": difference, "candidates": runs})
            print(f"exhaustive: repetition {repetition}", flush=True)


def _teacher(images: Path, workdir: Path) -> Path:
    distill(_spec(images, "mini/resnet8_100", 0.05, seed=0, method={"kind": "ce"}), workdir)
    return workdir / "out" / "student.safetensors"


def _train(images: Path, teacher: Path, number: int, seed: int, work: Path) -> Run:
    student, rate = _CANDIDATES[number - 1]
    accuracies: list[float] = []

    def keep(event: Event) -> None:
        if isinstance(event, Metrics) and "validation/top1" in event.values:
            accuracies.append(event.values["validation/top1"])

    fields = {"method": {"kind": "wttm"}, "teacher": {"checkpoint": teacher.as_uri()}}
    with tempfile.TemporaryDirectory(dir=work) as folder:
        spec = _spec(images, student, rate, seed=seed, **fields)
        options = RunOptions(record_correct=True)
        result = distill(spec, Path(folder), stores=Stores(work / "stores"), on_event=keep, options=options)
    assert result.correct is not None
    assert result.student_test is not None
    assert result.teacher_validation is not None
    return {
        "number": number,
        "parameters": result.student_parameters,
        "rungs": {str(epoch): max(accuracies[:epoch]) for epoch in _RUNGS},
        "validation": result.student_validation.top1,
        "test": result.student_test.top1,
        "teacher_validation": result.teacher_validation.top1,
        "correct": _bits(result.correct, result.student_test.images),
    }


def _bits(encoded: str, count: int) -> list[bool]:
    return [bool(bit) for bit in np.unpackbits(np.frombuffer(b64decode(encoded), dtype=np.uint8))[:count]]


def _spec(images: Path, student: str, rate: float, *, seed: int, **fields: Any) -> DistillSpec:
    return DistillSpec.model_validate(
        {
            "student": student,
            "dataset": {"uri": images.as_uri(), "validation": {"share": 0.3, "seed": seed}},
            "exports": [],
            "training": {
                "epochs": _PLAN.epochs,
                "batch_size": 64,
                "seed": seed,
                "threads": 1,
                "optimizer": {"name": "sgd", "learning_rate": rate},
            },
            **fields,
        }
    )


def _choices(runs: list[Run]) -> tuple[int, int]:
    """The candidate that the study recommends, and the one that full training of all recommends."""
    candidates = [
        Candidate(
            run["number"],
            _CANDIDATES[run["number"] - 1][0],
            Screen(parameters=run["parameters"], variants=(Variant("fp32", 4 * run["parameters"]),)),
        )
        for run in runs
    ]
    done = JobState.SUCCEEDED
    trials = [Trial("screen", JobKind.SCREEN, done), Trial("teacher", JobKind.TEACHER, done)]
    for run in runs:
        result = FinalResult(run["validation"], teacher_validation=run["teacher_validation"], test=run["test"])
        rungs = {int(epoch): accuracy for epoch, accuracy in run["rungs"].items()}
        trials.append(Trial(str(run["number"]), JobKind.DISTILL, done, run["number"], accuracies=rungs, result=result))
    facts = Facts(_PLAN, candidates, trials)
    study = decide(facts).recommendation
    full = recommend(_PLAN.goal, finalists_of(facts, [run["number"] for run in runs]), _PLAN.limits)
    assert study is not None
    assert full is not None
    return study.option.candidate, full.option.candidate
