"""What a study of ten students costs, compared with a separate job for each."""

from collections.abc import Iterator
from typing import Any

from bench.results.experiments.experiment import Setting, spec_hash
from bench.results.experiments.study import study
from bench.results.record import Record
from bench.results.service import Service


def run_ten_students(setting: Setting, service: Service, record: Record) -> None:
    """Runs the study and the jobs that are missing in the record."""
    body = study_body(setting)
    study_hash = spec_hash(body)
    if record.content.get("spec_sha256") != study_hash:
        ended, cpu_seconds = service.study(body, "ten students")
        assert ended.result is not None
        record.content |= {
            "spec_sha256": study_hash,
            "epochs": body["training"]["epochs"],
            "study_cpu_seconds": cpu_seconds,
            "costs": ended.result["costs"],
        }
    specs = {spec_hash(spec): spec for spec in _jobs(body)}
    record.content["runs"] = [run for run in record.runs if run["spec_sha256"] in specs]
    record.save()
    for number, (key, spec) in enumerate(specs.items()):
        if record.find(str(number), key) is None:
            job, cpu_seconds = service.job(spec, f"ten students, job {number}")
            report = service.client.jobs.report(job.id)
            record.add(
                {
                    "variant": str(number),
                    "student": spec["student"],
                    "cpu_seconds": cpu_seconds,
                    "test": report["test"]["student"]["top1"],
                    "teacher_forwards": report["run"]["teacher_forwards"],
                    "spec_sha256": key,
                }
            )


def _jobs(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The separate jobs. Each has views of its own, so that it computes the teacher's logits itself."""
    shared = {name: body[name] for name in ("teacher", "dataset", "method", "exports")}
    for number, student in enumerate(body["students"]):
        yield {**shared, "student": student, "training": {**body["training"], "view_seed": 1000 + number}}


def study_body(setting: Setting) -> dict[str, Any]:
    """The documented study with one student more and no limit on size, so that all ten are trained.

    One seed, and no run with labels alone, because the separate jobs have neither.
    """
    body = study(setting)
    students = [*body["students"], {"prune": {"macs": 0.3}}]
    limits = {"retention": body["limits"]["retention"]}
    return {**body, "students": students, "limits": limits, "seeds": 1, "baseline": False}
