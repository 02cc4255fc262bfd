"""`ttm queue` and `ttm workers`: what waits, and who works."""

from datetime import UTC, datetime
from itertools import islice
from typing import Annotated, Any

import typer

from ttm_client import QueueLine, WaitingJob, Worker
from ttm_client.cli.output import JsonOption, UrlOption, duration, messages, print_json, print_rows, service, size

_REASONS = {
    "worker": "a worker: none serves the queue",
    "memory": "a device with as much memory",
    "limit": "the project's limit of running jobs",
    "time": "its next try",
    "turn": "its turn",
}


def queue(
    name: Annotated[str | None, typer.Argument(help="The queue; the first of the service's when left out.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most this many jobs.")] = 20,
    json: JsonOption = False,
    url: UrlOption = None,
) -> None:
    """Show what waits, the next first, and whose turn it is."""
    with service(url) as client:
        whole = client.queue.get()
        waiting = list(islice(client.queue.jobs(name), limit))
    if json:
        print_json({**whole.model_dump(mode="json"), "jobs": waiting})
        return
    for line in whole.queues if messages.is_terminal else ():
        messages.print(_line(line), highlight=False)
    print_rows(
        ("PLACE", "ID", "NAME", "OWNER", "PRIORITY", "NEEDS", "WAITED", "WAITS FOR"),
        [_row(job) for job in waiting],
        spare=("NEEDS", "OWNER", "PRIORITY", "WAITED", "PLACE"),
    )


def workers(json: JsonOption = False, url: UrlOption = None) -> None:
    """List the workers heard of lately."""
    with service(url) as client:
        found = list(client.workers.list())
    if json:
        print_json(found)
    else:
        print_rows(
            ("ID", "HOST", "TRAINS ON", "QUEUES", "JOB", "HEARD OF"),
            [_worker(worker) for worker in found],
            spare=("QUEUES",),
        )


def _line(line: QueueLine) -> str:
    turn = f", this project's turn is {line.turn} of {line.projects}" if line.turn is not None else ""
    return f"{line.name}: {line.depth} waiting, workers: {line.workers}, idle: {line.idle_workers}{turn}"


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
        worker.job_id or ("another project's" if worker.busy else "idle"),
        f"{duration((datetime.now(UTC) - worker.last_seen_at).total_seconds())} ago",
    )


def _device(device: Any) -> str:
    if not isinstance(device, dict):
        return str(device)
    words = [str(device.get("kind")), f"x{device['count']}" if device.get("count") else "", device.get("name") or ""]
    memory = device.get("memory_bytes")
    return " ".join(filter(None, [*words, size(memory) if memory else ""]))
