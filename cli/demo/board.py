"""Progress bars for several jobs."""

import time

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from ttm_client import Client, Job

_POLL_SECONDS = 0.5


class JobsFailed(Exception):
    """A job of the demo did not succeed."""


def follow(client: Client, jobs: dict[str, str], console: Console) -> dict[str, Job]:
    """Follows jobs (label -> id) until they end: bars on a terminal, lines elsewhere."""
    columns = (
        TextColumn("  {task.description:<9}"),
        BarColumn(28),
        TextColumn("{task.fields[numbers]}"),
        TimeElapsedColumn(),
    )
    done: dict[str, Job] = {}
    printed: dict[str, str] = {}
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        tasks = {label: bar.add_task(escape(label), total=1.0, numbers="queued", start=False) for label in jobs}
        while len(done) < len(jobs):
            for label, job_id in jobs.items():
                if label in done:
                    continue
                job = client.jobs.get(job_id)
                _show(bar, tasks[label], job)
                if not console.is_terminal:
                    _print_line(console, label, job, printed)
                if job.done:
                    done[label] = job
            time.sleep(_POLL_SECONDS)
    for label, job in done.items():
        if job.state != "succeeded":
            reason = f"{job.failure.code}: {job.failure.message}" if job.failure else job.state
            raise JobsFailed(f"job {label!r} ({job.id}) ended as {job.state}: {reason}")
    return done


def _show(bar: Progress, task: TaskID, job: Job) -> None:
    if job.state != "queued" and not bar.tasks[task].started:
        bar.start_task(task)
    bar.update(task, completed=1.0 if job.done else _fraction(job), numbers=_numbers(job))
    if job.done:
        bar.stop_task(task)


def _print_line(console: Console, label: str, job: Job, printed: dict[str, str]) -> None:
    """Prints a line at every 10 % of progress."""
    now = f"{job.state} {int(_fraction(job) * 10)}"
    if printed.get(label) != now:
        printed[label] = now
        console.print(f"  {label:<9} {_fraction(job):>4.0%}  {_numbers(job)}", highlight=False, markup=False)


def _fraction(job: Job) -> float:
    if job.state == "succeeded":
        return 1.0
    return job.progress.fraction if job.progress else 0.0


def _numbers(job: Job) -> str:
    words = [job.state if job.done or job.state == "queued" else (job.phase or job.state)]
    loss, top1 = job.metrics.get("train/loss"), job.metrics.get("validation/top1")
    if loss is not None:
        words.append(f"loss {loss:.3f}")
    if top1 is not None:
        words.append(f"validation {top1:.1%}")
    if not job.done and job.progress and job.progress.eta_seconds is not None:
        words.append(f"{job.progress.eta_seconds:.0f} s left")
    return "  ".join(words)
