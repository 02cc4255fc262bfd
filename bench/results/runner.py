"""Runs the experiments: first the runs that choose values, then all seeds."""

from collections.abc import Mapping, Sequence
from typing import Any

from bench.results.choice import chosen
from bench.results.experiments.experiment import Experiment, Values, Variant, grid_runs, spec_hash
from bench.results.peers import run_peer
from bench.results.record import Record, Run
from bench.results.service import Service


def run_table(experiment: Experiment, service: Service, record: Record) -> None:
    """Adds the missing runs of an experiment to its record. Finished runs are not repeated."""
    record.content["reference"] = experiment.reference
    record.content["base"] = _recorded(experiment.base)
    record.content["variants"] = [variant.name for variant in experiment.variants]
    for variant, values in grid_runs(experiment):
        _run(experiment, variant, values, 0, service, record)
    for seed in range(experiment.seeds):
        for variant in experiment.variants:
            _run(experiment, variant, _values(variant, record.runs), seed, service, record)
    record.save()


def _recorded(base: Mapping[str, Any]) -> dict[str, Any]:
    """A base spec for the record: without the dataset, and without the folder of the teacher on this machine."""
    recorded = {name: value for name, value in base.items() if name != "dataset"}
    if teacher := base["teacher"]:
        recorded["teacher"] = {**teacher, "checkpoint": teacher["checkpoint"].rpartition("/")[2]}
    return recorded


def run_study(spec: dict[str, Any], service: Service, record: Record) -> None:
    """Runs a study and records its result, unless the record has the result of this study."""
    key = spec_hash(spec)
    if record.content.get("spec_sha256") == key:
        return
    study, cpu_seconds = service.study(spec, "study")
    candidates = [
        {"number": each.number, "label": each.label, "values": each.values, "parameters": each.parameters}
        | {"files": list(each.files), "rejected": each.rejected}
        for each in service.client.studies.candidates(study.id)
    ]
    record.content |= {
        "spec_sha256": key,
        "limits": study.limits,
        "goal": study.goal,
        "epochs": spec["training"]["epochs"],
        "seeds": spec["seeds"],
        "rungs": list(study.rungs),
        "finalists": list(study.finalists),
        "result": study.result,
        "candidates": candidates,
        "replay_agrees": service.client.studies.replay(study.id).agrees,
        "cpu_seconds": cpu_seconds,
    }
    record.save()


def _values(variant: Variant, runs: Sequence[Run]) -> Values:
    return chosen(variant.name, runs) if variant.grid else {}


def _run(experiment: Experiment, variant: Variant, values: Values, seed: int, service: Service, record: Record) -> None:
    spec = experiment.spec(variant, values, seed)
    key = spec_hash({**spec, "contender": variant.contender})
    if record.find(variant.name, key) is not None:
        return
    name = f"{experiment.name}: {variant.name}, seed {seed}" + "".join(f", {each}" for each in values.items())
    measured = record.measured(key) or (
        _served(spec, name, service) if variant.contender == "service" else run_peer(variant.contender, spec)
    )
    record.add({"variant": variant.name, "values": dict(values), "seed": seed, **measured, "spec_sha256": key})
    print(f"{name}: test {measured['test']:.4f}, {measured['cpu_seconds'] or 0:.0f} CPU-seconds", flush=True)


def _served(spec: dict[str, Any], name: str, service: Service) -> Run:
    job, cpu_seconds = service.job(spec, name)
    report = service.client.jobs.report(job.id)
    test, run = report["test"] or report["validation"], report["run"]
    return {
        "validation": report["validation"]["student"]["top1"],
        "test": test["student"]["top1"],
        "teacher": test["teacher"]["top1"] if test["teacher"] else None,
        "test_images": test["images"],
        "train_images": run["train_images"],
        "epochs": run["epochs"],
        "cpu_seconds": cpu_seconds,
        "teacher_forwards": run["teacher_forwards"],
        "parameters": report["student"]["parameters"],
        "macs": report["student"]["macs"],
    }
