"""The service that runs the experiments: a stack of its own with one worker, or a running one."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import psutil

from bench.results.experiments.experiment import spec_hash
from cli.stack.stack import Stack, StackOptions
from ttm_client import Client, Job, Study


class RunFailed(Exception):
    """A job or study of an experiment did not succeed."""


class Service:
    """Submits jobs and studies one at a time and waits for them.

    `worker_pid` is None for a service that this process did not start; CPU-seconds are then unknown.
    """

    def __init__(self, client: Client, worker_pid: int | None) -> None:
        self.client = client
        self._worker_pid = worker_pid

    def job(self, spec: Mapping[str, Any], name: str) -> tuple[Job, float | None]:
        """Runs a job to its end. Returns it with the CPU-seconds of the worker and its processes.

        A job with the same spec that was submitted within 24 hours is not submitted again; its CPU-seconds are unknown.
        """
        before = self._cpu_seconds()
        job_id, new = self._submit("jobs", spec, name)
        job = self.client.jobs.wait(job_id)
        if job.state != "succeeded":
            reason = f"{job.failure.code}: {job.failure.message}" if job.failure else job.state
            raise RunFailed(f"{name} ended as {job.state}: {reason}")
        return job, self._since(before) if new else None

    def study(self, spec: Mapping[str, Any], name: str) -> tuple[Study, float | None]:
        """Runs a study to its end, as `job`."""
        before = self._cpu_seconds()
        study_id, new = self._submit("studies", spec, name)
        study = self.client.studies.wait(study_id)
        if study.state != "succeeded":
            raise RunFailed(f"{name} ended as {study.state}: {study.failure}")
        return study, self._since(before) if new else None

    def _submit(self, resource: str, spec: Mapping[str, Any], name: str) -> tuple[str, bool]:
        """The id, and whether it was created by this request."""
        # The SDK creates a new key for each call; a key of the spec finds the job of an interrupted run.
        headers = {"Idempotency-Key": f"{name.replace(' ', '-')}-{spec_hash(spec)[:32]}"}
        if key := os.environ.get("TTM_API_KEY"):
            headers["Authorization"] = f"Bearer {key}"
        url = f"{self.client.base_url}/{resource}"
        answer = httpx2.post(url, json={**spec, "name": name}, headers=headers, timeout=60)
        if answer.is_error:
            raise RunFailed(f"{name} was refused: {answer.text}")
        return str(answer.json()["id"]), "Idempotency-Replayed" not in answer.headers

    def _since(self, before: float | None) -> float | None:
        now = self._cpu_seconds()
        return None if before is None or now is None else now - before

    def _cpu_seconds(self) -> float | None:
        if self._worker_pid is None:
            return None
        worker = psutil.Process(self._worker_pid)
        return sum(map(_used, [worker, *worker.children(recursive=True)]))


@contextmanager
def service(url: str | None, var: Path, roots: tuple[Path, ...]) -> Iterator[Service]:
    """The service at `url`; without one, a stack on 127.0.0.1 with one worker and its state in `var`.

    Jobs may read files below `roots`.
    """
    if url is not None:
        with Client(url) as client:
            yield Service(client, None)
        return
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    options = StackOptions(var=var, port=0, data_roots=roots, environment=environment)
    with Stack(options, report=print) as stack, Client(stack.url) as client:
        worker = next(each for each in stack.services if each.name == "worker")
        print(f"service at {stack.url}", flush=True)
        yield Service(client, worker.pid)


def _used(process: psutil.Process) -> float:
    """CPU-seconds of a process and of its children that have ended."""
    try:
        return float(sum(process.cpu_times()[:4]))
    except psutil.NoSuchProcess:
        return 0.0
