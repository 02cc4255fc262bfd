"""`ttm show`."""

from typing import Annotated

import typer

from ttm_client import Attempt, Client, Job, Measurement, TeacherCheck
from ttm_client.cli.completion import job_ids
from ttm_client.cli.output import JsonOption, UrlOption, duration, print_json, print_rows, service
from ttm_client.references import is_id

JobArgument = Annotated[
    str, typer.Argument(metavar="JOB", help="The job's id, a unique prefix of it, or its name.", autocompletion=job_ids)
]


def show(job_id: JobArgument, json: JsonOption = False, url: UrlOption = None) -> None:
    """Show a job: state, progress, accuracy, artifacts, attempts, latency, and which file to ship."""
    with service(url) as client:
        job = client.jobs.get(job_id)
        attempts = client.jobs.attempts(job.id)
        measured = client.measurements.list(job.id)
    if json:
        print_json(
            {
                **job.model_dump(mode="json"),
                "attempts": attempts,
                "measurements": measured.items,
                "recommendations": measured.recommendations,
            }
        )
    else:
        rows = [*describe(job), *(("attempt " + str(one.number), _attempt(one)) for one in attempts)]
        rows += [(f"latency on {each.device}", _latency(each)) for each in measured.items if each.batch == 1]
        print_rows(("", ""), [*rows, *((f"ship on {each.device}", each.reason) for each in measured.recommendations)])


def full_id(client: Client, reference: str) -> str:
    """The id of the job with this id, id prefix or name."""
    return reference if is_id(reference) else client.jobs.get(reference).id


def describe(job: Job) -> list[tuple[str, str]]:
    """A job as rows of name and value."""
    rows = [
        ("job", job.id),
        ("name", job.name or "-"),
        ("state", job.state + (f", {job.phase}" if job.phase else "")),
        ("owner", job.owner or "-"),
        ("teacher", job.teacher or "-"),
        ("student", job.student),
        ("dataset", job.dataset),
        ("method", job.method),
        ("queue", f"{job.queue or '-'}, priority {job.priority}"),
        ("attempt", f"{job.attempt} of {job.max_attempts}"),
        ("submitted", f"{job.created_at.astimezone():%Y-%m-%d %H:%M:%S}"),
    ]
    if job.tags:
        rows.append(("tags", ", ".join(job.tags)))
    if job.started_at is not None:
        waited = job.started_at - job.created_at
        rows.append(("took", f"{duration(waited.total_seconds())} queued, {duration(job.run_seconds or 0.0)} running"))
    if job.blocked_reason is not None:
        rows.append(("blocked", job.blocked_reason))
    if job.progress is not None:
        left = None if job.done else job.progress.eta_seconds
        eta = "" if left is None else f", {duration(left)} left"
        rows.append(("progress", f"step {job.progress.step} of {job.progress.total_steps}{eta}"))
    if job.teacher_check is not None:
        rows += _teacher(job.teacher_check)
    if job.accuracy is not None:
        rows.append((f"top-1 ({job.accuracy.split})", _accuracy(job.accuracy.teacher, job.accuracy.student)))
        if job.accuracy.change_points is not None:
            rows.append(("change vs teacher", f"{job.accuracy.change_points:+.2f} points"))
        if job.accuracy.retention is not None:
            rows.append(("retention", f"{job.accuracy.retention:.1%} of the teacher"))
    if job.failure is not None:
        rows.append(("failure", f"{job.failure.code} ({job.failure.origin}): {job.failure.message}"))
        rows.append(("next step", job.failure.next_step))
    rows += [("artifact", f"{file.name}  {file.size} bytes  sha256 {file.sha256}") for file in job.artifacts]
    return rows


def _teacher(check: TeacherCheck) -> list[tuple[str, str]]:
    low, high = check.interval
    rows = [
        (
            "teacher check",
            f"{check.top1:.1%} of {check.images} validation images, 95 % interval {low:.1%} to {high:.1%}, "
            f"chance {check.chance:.1%}",
        )
    ]
    if check.weak_classes:
        rows.append(("weak classes", ", ".join(f"{each['name']} {each['top1']:.0%}" for each in check.weak_classes)))
    if (found := check.suggested_normalization) is not None:
        values = found["normalization"]
        rows.append(
            (
                "did you mean",
                f"the normalization of {found['preset']}? {found['top1']:.1%} instead of {found['current_top1']:.1%} "
                f"of {found['images']} images. Set teacher.normalization to mean {values['mean']}, std {values['std']}",
            )
        )
    if (larger := check.suggested_image_size) is not None:
        rows.append(
            (
                "did you mean",
                f"images of {larger['image_size']} pixels? {larger['top1']:.1%} instead of "
                f"{larger['current_top1']:.1%} of {larger['images']} images. Set teacher.image_size to "
                f"{larger['image_size']}",
            )
        )
    return rows


def _attempt(attempt: Attempt) -> str:
    words = [attempt.outcome or "running"]
    if attempt.from_step is not None:
        words.append(f"steps {attempt.from_step} to {attempt.to_step}")
    if attempt.cause is not None:
        words.append(f"{attempt.cause.code}: {attempt.cause.message}")
    return ", ".join(words)


def _latency(measured: Measurement) -> str:
    threads = f"{measured.threads} thread{'' if measured.threads == 1 else 's'}"
    return f"{measured.artifact} ({measured.precision}, {threads}): {measured.p50_ms:.3g} ms"


def _accuracy(teacher: float | None, student: float | None) -> str:
    return ", ".join(
        f"{who} {share:.2%}" for who, share in (("teacher", teacher), ("student", student)) if share is not None
    )
