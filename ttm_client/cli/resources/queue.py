"""`ttm queue` and `ttm workers`."""

from datetime import UTC, datetime
from itertools import islice
from typing import Annotated, Any

import typer

from ttm_client import QueueStats, WaitingJob, Worker
from ttm_client.cli.output import (
    JsonOption,
    LimitOption,
    UrlOption,
    duration,
    messages,
    print_json,
    print_rows,
    service,
    size,
)

_REASONS = {
    "worker": "a worker that serves the queue",
    "device": "a worker with the devices it needs",
    "memory": "a device with enough memory",
    "architecture": "a worker with the package of its architecture",
    "limit": "the project's limit of running jobs",
    "time": "the retry delay",
    "queue": "jobs ahead of it",
}


def queue(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Queue. Default: the service's first queue.")
    ] = None,
    limit: LimitOption = 20,
    json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """Show queued jobs in scheduling order."""
    with service(url) as client:
        overview = client.queue.get()
        waiting = list(islice(client.queue.jobs(name), limit))
    if json:
        print_json({**overview.model_dump(mode="json"), "jobs": waiting})
        return
    for line in overview.queues if messages.is_terminal else ():
        messages.print(_line(line), highlight=False)
    print_rows(
        ("POSITION", "ID", "NAME", "OWNER", "PRIORITY", "MEMORY", "QUEUED FOR", "BLOCKED ON"),
        [_row(job) for job in waiting],
        optional=("MEMORY", "OWNER", "PRIORITY", "QUEUED FOR", "POSITION"),
    )


def workers(json: JsonOption = False, url: UrlOption = None) -> None:
    """List the workers that reported recently."""
    with service(url) as client:
        found = list(client.workers.list())
    if json:
        print_json(found)
    else:
        print_rows(
            ("ID", "HOST", "DEVICES", "QUEUES", "JOB", "LAST SEEN"),
            [_worker(worker) for worker in found],
            optional=("QUEUES", "ID"),
            whole=("JOB",),
        )


def _line(stats: QueueStats) -> str:
    place = stats.project_position
    position = "" if place is None else f", this project is number {place} of {stats.projects}"
    return f"{stats.name}: {stats.depth} queued, workers: {stats.workers}, idle: {stats.idle_workers}{position}"


def _row(job: WaitingJob) -> tuple[str, ...]:
    return (
        str(job.position),
        job.id,
        job.name or "",
        job.owner or "",
        str(job.priority),
        "" if job.device_memory_bytes is None else size(job.device_memory_bytes),
        duration((datetime.now(UTC) - job.queued_at).total_seconds()),
        _REASONS.get(job.blocked_on, job.blocked_on),
    )


def _worker(worker: Worker) -> tuple[str, ...]:
    return (
        worker.id,
        worker.hostname,
        ", ".join(_device(device) for device in worker.devices),
        ", ".join(worker.queues),
        worker.job_id or ("another project's job" if worker.busy else _without_job(worker)),
        f"{duration((datetime.now(UTC) - worker.last_seen_at).total_seconds())} ago",
    )


def _without_job(worker: Worker) -> str:
    return "idle" if worker.error is None else f"idle. {worker.error}"


def _device(device: Any) -> str:
    if not isinstance(device, dict):
        return str(device)
    words = [str(device.get("kind")), f"x{device['count']}" if device.get("count") else "", device.get("name") or ""]
    memory = device.get("memory_bytes")
    return " ".join(filter(None, [*words, size(memory) if memory else ""]))
