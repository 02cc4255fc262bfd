"""What a study of ten students costs, compared with a separate job for each."""

from typing import Any

from bench.results.experiments.experiment import Setting, spec_hash
from bench.results.experiments.study import study
from bench.results.record import Record
from bench.results.service import Service


def run_ten_students(setting: Setting, service: Service, record: Record) -> None:
    """Runs the study and the jobs that are missing in the record.

    Each job has views of its own, so that it computes the teacher's logits itself, as without a service.
    """
    body = study_body(setting)
    key = spec_hash(body)
    if record.content.get("spec_sha256") != key:
        ended, cpu_seconds = service.study(body, "ten students")
        assert ended.result is not None
        record.content |= {
            "spec_sha256": key,
            "runs": [],
            "epochs": body["training"]["epochs"],
            "study_cpu_seconds": cpu_seconds,
            "costs": ended.result["costs"],
        }
        record.save()
    shared = {name: body[name] for name in ("teacher", "dataset", "method", "exports")}
    for number, student in enumerate(body["students"]):
        spec = {**shared, "student": student, "training": {**body["training"], "view_seed": 1000 + number}}
        if record.find(str(number), spec_hash(spec)) is None:
            job, cpu_seconds = service.job(spec, f"ten students, job {number}")
            report = service.client.jobs.report(job.id)
            record.add(
                {
                    "variant": str(number),
                    "student": student,
                    "cpu_seconds": cpu_seconds,
                    "test": report["test"]["student"]["top1"],
                    "teacher_forwards": report["run"]["teacher_forwards"],
                    "spec_sha256": spec_hash(spec),
                }
            )


def study_body(setting: Setting) -> dict[str, Any]:
    """The documented study with one student more, one seed, and no limit on size, so that all ten are trained."""
    body = study(setting)
    students = [*body["students"], {"prune": {"macs": 0.3}}]
    return {**body, "students": students, "limits": {"retention": body["limits"]["retention"]}, "seeds": 1}
