"""Distillation jobs."""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ttm_client.download import Advance, download
from ttm_client.errors import WaitTimeout
from ttm_client.events import follow
from ttm_client.metrics import Metrics
from ttm_client.models import Artifact, Attempt, Job, JobEvent, JobSummary, MetricPoint
from ttm_client.paging import pages
from ttm_client.progress import ProgressLine
from ttm_client.transport import Transport

Part = str | Mapping[str, Any]


class Jobs:
    """`client.jobs`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(
        self,
        *,
        dataset: Part,
        student: Part | None = None,
        teacher: Part | None = None,
        recipe: str | None = None,
        **rest: Any,
    ) -> Job:
        """Submit a job. Each part is a string or an object as in the API; `rest` holds `name`, `method`, `training`.

        What a recipe says, such as the student, may be left out. InvalidRequest, with one entry a fault, if the service
        refuses the spec.
        """
        parts = {"student": student, "teacher": teacher, "recipe": recipe}
        given = {name: part for name, part in parts.items() if part is not None}
        return self._job("POST", "/jobs", {"dataset": dataset, **given, **rest}, once=True)

    def get(self, job_id: str) -> Job:
        """A job by its id; NotFound if there is none."""
        return self._job("GET", _path(job_id))

    def list(self, *, states: tuple[str, ...] = (), tags: tuple[str, ...] = (), **filters: str) -> Iterator[JobSummary]:
        """Jobs, newest first, in one of the states and with all the tags that are given; pages are fetched as needed.

        Further filters, as in the API: `name`, `teacher`, `dataset`, `created_after`, `created_before`.
        """
        params: dict[str, str | int | list[str] | None] = {
            "limit": 100,
            "state": list(states),
            "tag": list(tags),
            **filters,
        }
        for item in pages(self._transport, "/jobs", params):
            yield JobSummary.model_validate(item)

    def cancel(self, job_id: str) -> Job:
        """Ask for the end of a job; asking again is harmless. Conflict if it has ended."""
        return self._job("POST", _path(job_id) + "/cancel")

    def pause(self, job_id: str) -> Job:
        """Ask a running job to stop at a checkpoint. Conflict unless it runs."""
        return self._job("POST", _path(job_id) + "/pause")

    def resume(self, job_id: str) -> Job:
        """Queue a paused job again. Conflict unless it is paused."""
        return self._job("POST", _path(job_id) + "/resume")

    def retry(self, job_id: str) -> Job:
        """A new job with the spec of a failed or cancelled one. Conflict for any other."""
        return self._job("POST", _path(job_id) + "/retry", once=True)

    def update(self, job_id: str, **changes: Any) -> Job:
        """Change `name` or `tags`, whatever the job's state; what is not given stays."""
        return self._job("PATCH", _path(job_id), changes)

    def delete(self, job_id: str) -> None:
        """Delete a job that has ended, with all that it made. Conflict for any other."""
        self._transport.request("DELETE", _path(job_id))

    def wait(
        self,
        job_id: str,
        timeout: float | None = None,
        on_update: Callable[[Job], None] | None = None,
        *,
        interval: float = 1.0,
        progress: bool = False,
    ) -> Job:
        """The job once it has ended, however it ended. `on_update` sees it each time it is asked for; `progress` draws
        a bar on standard error, in terminals and notebooks.

        WaitTimeout after `timeout` seconds; the job goes on.
        """
        line = ProgressLine() if progress else None
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            job = self.get(job_id)
            if on_update is not None:
                on_update(job)
            if line is not None:
                line(job)
            if job.done:
                return job
            if deadline is not None and time.monotonic() + interval > deadline:
                raise WaitTimeout(f"Job {job_id} is still {job.state} after {timeout:g} s.")
            time.sleep(interval)

    def events(self, job_id: str, *, last_event_id: str | None = None, patience: float = 300.0) -> Iterator[JobEvent]:
        """Follow a job live: each event once and in order, across dropped connections, until the job has ended."""
        return follow(self._transport, job_id, last_event_id=last_event_id, patience=patience)

    def metrics(self, job_id: str, *, names: tuple[str, ...] = (), after_step: int | None = None) -> Metrics:
        """The metrics of a job by step, those of `names` if given, after a step if given; `.to_frame()` for pandas."""
        found = Metrics()
        while True:
            response = self._transport.request(
                "GET",
                _path(job_id) + "/metrics",
                params={"name": list(names), "after_step": after_step, "limit": 1000},
            )
            page = json.loads(response.content)
            found += [MetricPoint.model_validate(item) for item in page["items"]]
            if not page["has_more"]:
                return found
            after_step = page["next_after_step"]

    def attempts(self, job_id: str) -> tuple[Attempt, ...]:
        """Every claim of a job by a worker, oldest first."""
        page = json.loads(self._transport.request("GET", _path(job_id) + "/attempts").content)
        return tuple(Attempt.model_validate(item) for item in page["items"])

    def log(self, job_id: str) -> str:
        """What the trainer of the newest attempt printed, once that attempt has ended; NotFound before."""
        return self._transport.request("GET", _path(job_id) + "/log").text

    def report(self, job_id: str) -> dict[str, Any]:
        """The report of a job that succeeded: accuracy, size, cost and latency, teacher beside student."""
        report: dict[str, Any] = json.loads(self._transport.request("GET", _path(job_id) + "/report").content)
        return report

    def artifacts(self, job_id: str) -> tuple[Artifact, ...]:
        """The files that a job made."""
        page = json.loads(self._transport.request("GET", _path(job_id) + "/artifacts").content)
        return tuple(Artifact.model_validate(item) for item in page["items"])

    def download_student(self, job_id: str, path: str | os.PathLike[str], progress: Advance | None = None) -> Path:
        """Fetch the trained student into `path`; see `download_artifact`. Conflict before the job has succeeded."""
        href = _path(job_id) + "/student"
        # One byte instead of HEAD: a refusal to HEAD has no body that would say why.
        first = self._transport.request("GET", href, headers={"Range": "bytes=0-0"})
        return download(
            self._transport,
            href,
            Path(path),
            sha256=first.headers["etag"].strip('"'),
            size=int(first.headers["content-range"].rpartition("/")[2]),
            progress=progress,
        )

    def download_artifact(
        self, job_id: str, artifact: Artifact, path: str | os.PathLike[str], progress: Advance | None = None
    ) -> Path:
        """Fetch an artifact into `path`: resumed where an earlier try broke off, checked, renamed when whole.

        `progress` is called with (bytes held, bytes in all). ChecksumMismatch leaves no file.
        """
        return download(
            self._transport, artifact.href, Path(path), sha256=artifact.sha256, size=artifact.size, progress=progress
        )

    def _job(self, method: str, path: str, body: Any = None, *, once: bool = False) -> Job:
        return Job.model_validate_json(self._transport.request(method, path, body=body, once=once).content)


def _path(job_id: str) -> str:
    return f"/jobs/{quote(job_id, safe='')}"
