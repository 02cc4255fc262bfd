"""The record of a job's int8 file: its accuracy next to the float32 file's, sizes, latencies and how it was made."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch

from bench.results.experiments.experiment import spec_hash
from bench.results.experiments.int8 import Int8Run
from bench.results.record import Record
from bench.results.service import Service
from ttm_core.export.onnx import load_onnx
from ttm_core.report.evaluate_file import open_split
from ttm_core.training.evaluate import correct_mask
from ttm_jobs.studies.rules.statistics import paired_bootstrap
from ttm_measure import compare

_RELATIVE_ERROR, _SECONDS = 0.02, 2.0
_MEASURED = {"precision", "batch", "threads", "p50_ms", "relative_error", "cpu", "runtime", "runtime_version"}


def run_int8(runs: Sequence[Int8Run], service: Service, record: Record) -> None:
    """Adds the missing runs to a record."""
    jobs: dict[str, str] = {}
    missing = [run for run in runs if run.shown and record.find(run.name, _key(run)) is None]
    teachers = {run.teacher for run in missing}
    for run in [run for run in runs if run in missing or run.name in teachers]:
        spec = run.spec if run.teacher is None else {**run.spec, "teacher": f"job:{jobs[run.teacher]}"}
        job, cpu_seconds = service.job(spec, f"int8: {run.name}")
        jobs[run.name] = job.id
        if run.shown:
            found = _measured(service, job.id, Path(urlsplit(spec["dataset"]).path))
            record.add(
                {
                    "variant": run.name,
                    "mode": run.spec["quantize"]["mode"],
                    "seed": 0,
                    "values": {},
                    "cpu_seconds": cpu_seconds,
                    **found,
                    "spec_sha256": _key(run),
                }
            )
            print(f"int8: {run.name}: float32 {found['test']:.4f}, int8 {found['int8']['mean']:+.4f}", flush=True)


def _key(run: Int8Run) -> str:
    return spec_hash({**run.spec, "teacher_run": run.teacher})


def _measured(service: Service, job: str, dataset: Path) -> dict[str, Any]:
    report = service.client.jobs.report(job)
    measured = service.client.measurements.list(job)
    (exported,) = (each for each in report["exports"] if each["format"] == "onnx_int8")
    return {
        "test": report["test"]["student"]["top1"],
        "test_images": report["test"]["images"],
        "train_images": report["run"]["train_images"],
        "epochs": report["run"]["epochs"],
        "parameters": report["student"]["parameters"],
        "macs": report["student"]["macs"],
        "sizes": {each["precision"]: each["size"] for each in report["exports"] if each["precision"]},
        "quantization": exported["quantization"],
        **_compared(service, job, dataset),
        "measurements": [each.model_dump(include=_MEASURED) for each in measured.items],
        "recommendations": [each.model_dump(mode="json") for each in measured.recommendations],
    }


def _compared(service: Service, job: str, dataset: Path) -> dict[str, Any]:
    """The float32 and the int8 file: the difference of their test accuracies with its interval over the photographs,
    and their latency in turns, which the load of other processes changes less than that of the job's measurements.
    """
    with tempfile.TemporaryDirectory() as folder, open_split(dataset, "test") as opened:
        artifacts = {each.name: each for each in service.client.jobs.artifacts(job)}
        paths, correct = [], []
        for name in ("student.onnx", "student-int8.onnx"):
            paths.append(service.client.jobs.download_artifact(job, artifacts[name], Path(folder) / name))
            student = load_onnx(paths[-1])
            mask = correct_mask(student.model, opened.split, student.preprocess, device=torch.device("cpu"))
            correct.append(mask.tolist())
        timed = compare(paths, relative_error=_RELATIVE_ERROR, seconds=_SECONDS)
    found = paired_bootstrap(correct[1], correct[0])
    return {
        "int8": {"mean": found.mean, "low": found.low, "high": found.high, "images": found.count},
        "latency_ms": {name: each.p50_ms for name, each in zip(("fp32", "int8"), timed, strict=True)},
        "latency_relative_error": max(each.relative_error for each in timed),
    }
