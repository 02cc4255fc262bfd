"""Distillation jobs."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any, Unpack

from ttm_client.asynchronous.download import download
from ttm_client.asynchronous.events import follow
from ttm_client.asynchronous.logs import follow_log
from ttm_client.asynchronous.paging import pages
from ttm_client.asynchronous.polling import wait_until_done
from ttm_client.asynchronous.push import push
from ttm_client.asynchronous.references import find_job, job_id, job_path, study_id
from ttm_client.asynchronous.specs import with_uploads
from ttm_client.asynchronous.transport import AsyncTransport
from ttm_client.hub.publish import Destination, require_hub
from ttm_client.local_files import expanded, image_type
from ttm_client.models.comparisons import Comparison
from ttm_client.models.damage import DamageImage, DamageReport, Prediction
from ttm_client.models.jobs import Artifact, Attempt, BulkResult, Dryrun, Job, JobEvent, JobSummary, MetricPoint, Recipe
from ttm_client.models.metrics import Metrics
from ttm_client.options import JobChanges, JobFilters, JobOptions, Part, as_body, as_query, items, spec_of, texts
from ttm_client.progress import ProgressLine
from ttm_client.protocol import RECONNECT_SECONDS, Advance, Params, number_segment
from ttm_client.references import JobReference, job_reference, only_named
from ttm_client.responses import read, read_field, read_header, read_items, read_object

_MAX_BULK = 100


class AsyncJobs:
    """Submits, follows and cancels distillation jobs.

    >>> job = await client.jobs.create(teacher="job:" + done.id, student="resnet18", dataset=dataset)
    >>> job.state, job.method
    ('queued', 'wttm')
    """

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def create(
        self,
        *,
        dataset: Part,
        student: Part | None = None,
        teacher: Part | None = None,
        recipe: str | Recipe | None = None,
        **options: Unpack[JobOptions],
    ) -> Job:
        """Submits a job. Each part is a string, or an object with the fields of the API.

        Local files are uploaded, unless the service already has a file with the same SHA-256; local folders become
        file:// URIs. Raises FileNotFoundError for a path that does not exist. Fields that a recipe sets, such as
        `student`, may be omitted. A request whose response was lost is sent again and creates one job. Raises
        InvalidRequest, with one entry per invalid field.

        >>> job = await client.jobs.create(
        ...     teacher={"checkpoint": "job:" + done.id},
        ...     student="mobilenetv3_small_100",
        ...     dataset=dataset,
        ...     method={"kind": "wttm", "gamma": 0.2, "beta": 2},
        ...     training={"epochs": 30},
        ...     tags=["pets"],
        ... )
        >>> job.state, job.spec["method"]["gamma"], job.tags
        ('queued', 0.2, ('pets',))
        """
        spec = await with_uploads(self._transport, spec_of(dataset, student, teacher, recipe, options))
        return await self._job("POST", "/jobs", spec, once=True)

    async def validate(
        self,
        *,
        dataset: Part,
        student: Part | None = None,
        teacher: Part | None = None,
        recipe: str | Recipe | None = None,
        **options: Unpack[JobOptions],
    ) -> Dryrun:
        """Checks a job without submitting it. Takes the arguments of `create` and raises the same errors.

        >>> result = await client.jobs.validate(student="cifar/resnet20", dataset=dataset, method="ce")
        >>> result.student.parameters
        278324
        >>> pruned = {"prune": {"latency_ms": 5}}
        >>> result = await client.jobs.validate(teacher="job:" + done.id, student=pruned, dataset=dataset)
        >>> result.spec["student"]["prune"]["latency_ms"]
        5.0
        """
        spec = await with_uploads(self._transport, spec_of(dataset, student, teacher, recipe, options))
        answer = await self._transport.request("POST", "/jobs/validate", body=spec, once=True)
        return read(Dryrun, answer)

    async def get(self, job: JobReference) -> Job:
        """Returns a job. Like all methods, takes its id, a unique prefix of the id, its unique name, or a response that
        describes the job. Raises NotFound if it does not exist, and Conflict if several jobs match.

        >>> job = await client.jobs.get(done.id)
        >>> job.state, job.accuracy.change_points
        ('succeeded', -3.0)
        """
        return await find_job(self._transport, job)

    async def list(
        self, *, states: Iterable[str] = (), tags: Iterable[str] = (), **filters: Unpack[JobFilters]
    ) -> AsyncIterator[JobSummary]:
        """Yields jobs, newest first, in any of `states` and with all `tags`. Pages are requested as needed.

        Further filters as in the API: `name`, `teacher`, `dataset`, `owner`, `study`, `created_after`,
        `created_before`.

        >>> [job.state async for job in client.jobs.list(states=("running", "failed"))]
        ['running', 'failed']

        >>> alone = client.jobs.list(study="none")  # without the jobs of studies
        """
        query = as_query(await self._with_study_id(filters))
        params: Params = {"limit": 100, "state": texts(states, "states"), "tag": texts(tags, "tags"), **query}
        async for item in pages(self._transport, JobSummary, "/jobs", params):
            yield item

    async def cancel(self, job: JobReference) -> Job:
        """Cancels a job. Calling it again has no effect. Raises Conflict if the job has ended.

        >>> job = await client.jobs.cancel(queued.id)
        >>> job.state
        'cancelled'
        """
        return await self._job("POST", await self._path(job) + "/cancel")

    async def cancel_many(self, jobs: Iterable[JobReference]) -> tuple[BulkResult, ...]:
        """Cancels several jobs, 100 per request. A job that has ended or was deleted has an `error` in its
        result. Raises NotFound, before any change, for a name that no job has.

        >>> [result.error["code"] for result in await client.jobs.cancel_many([done.id])]
        ['job_not_cancellable']
        """
        return await self._change_many("/jobs/cancel", jobs, {})

    async def tag_many(
        self, jobs: Iterable[JobReference], *, add: Iterable[str] = (), remove: Iterable[str] = ()
    ) -> tuple[BulkResult, ...]:
        """Adds and removes tags of several jobs, 100 per request. A job that was deleted has an `error` in its result.
        Raises NotFound, before any change, for a name that no job has.

        >>> [result.tags for result in await client.jobs.tag_many([done.id], add=["table1"])]
        [('table1',)]
        """
        return await self._change_many("/jobs/tag", jobs, {"add": texts(add, "add"), "remove": texts(remove, "remove")})

    async def cancel_matching(
        self,
        *,
        states: Iterable[str] = (),
        tags: Iterable[str] = (),
        dry_run: bool = False,
        **filters: Unpack[JobFilters],
    ) -> tuple[BulkResult, ...]:
        """Cancels all jobs that match the filters of `list` and have not ended, 100 per request. At least one filter is
        required. `dry_run` only returns the jobs.

        >>> [result.id == queued.id for result in await client.jobs.cancel_matching(states=("queued",), dry_run=True)]
        [True]
        """
        selected = as_body(states, tags, await self._with_study_id(filters))
        return await self._change_matching("/jobs/cancel", selected, {"dry_run": dry_run})

    async def tag_matching(
        self,
        *,
        add: Iterable[str] = (),
        remove: Iterable[str] = (),
        states: Iterable[str] = (),
        tags: Iterable[str] = (),
        dry_run: bool = False,
        **filters: Unpack[JobFilters],
    ) -> tuple[BulkResult, ...]:
        """Adds and removes tags of all jobs that match the filters of `list`, 100 per request. At least one filter is
        required. `dry_run` only returns the jobs.

        >>> [result.tags for result in await client.jobs.tag_matching(states=("failed",), add=["check"])]
        [('check',)]
        """
        changes = {"add": texts(add, "add"), "remove": texts(remove, "remove"), "dry_run": dry_run}
        selected = as_body(states, tags, await self._with_study_id(filters))
        return await self._change_matching("/jobs/tag", selected, changes)

    async def _with_study_id(self, filters: JobFilters) -> JobFilters:
        study = filters.get("study")
        if study in (None, "none"):
            return filters
        return {**filters, "study": await study_id(self._transport, study)}

    async def _change_matching(
        self, path: str, selected: dict[str, Any], changes: dict[str, Any]
    ) -> tuple[BulkResult, ...]:
        results: tuple[BulkResult, ...] = ()
        cursor: str | None = None
        while True:
            body = {"filter": selected, "cursor": cursor, **changes}
            response = await self._transport.request("POST", path, body=body)
            results += read_items(BulkResult, response)
            cursor = read_field(response, "next_cursor")
            if cursor is None:
                return results

    async def _change_many(
        self, path: str, jobs: Iterable[JobReference], changes: dict[str, Any]
    ) -> tuple[BulkResult, ...]:
        ids = [await job_id(self._transport, job) for job in items(jobs)]
        results: tuple[BulkResult, ...] = ()
        for start in range(0, len(ids), _MAX_BULK):
            body = {"jobs": ids[start : start + _MAX_BULK], **changes}
            response = await self._transport.request("POST", path, body=body)
            results += read_items(BulkResult, response)
        return results

    async def pause(self, job: JobReference) -> Job:
        """Stops a running job at a checkpoint. Raises Conflict unless the job is running or queued.

        >>> job = await client.jobs.pause(running.id)
        >>> job.state
        'pausing'
        """
        return await self._job("POST", await self._path(job) + "/pause")

    async def resume(self, job: JobReference) -> Job:
        """Queues a paused job again. Raises Conflict unless the job is paused.

        >>> job = await client.jobs.pause(queued.id)
        >>> job = await client.jobs.resume(job.id)
        >>> job.state
        'queued'
        """
        return await self._job("POST", await self._path(job) + "/resume")

    async def retry(self, job: JobReference) -> Job:
        """Submits a new job with the spec of a failed or cancelled job. Raises Conflict in any other state.

        >>> job = await client.jobs.retry(failed.id)
        >>> job.state, job.retry_of == failed.id
        ('queued', True)
        """
        return await self._job("POST", await self._path(job) + "/retry", once=True)

    async def update(self, job: JobReference, **changes: Unpack[JobChanges]) -> Job:
        """Changes `name` or `tags` in any state. Omitted fields keep their values.

        >>> job = await client.jobs.update(done.id, name="pets, third try")
        >>> job.name
        'pets, third try'
        """
        return await self._job("PATCH", await self._path(job), changes)

    async def delete(self, job: JobReference) -> None:
        """Deletes a job that has ended, with its artifacts. Raises Conflict in any other state.

        >>> await client.jobs.delete(failed.id)
        """
        await self._transport.request("DELETE", await self._path(job))

    async def wait(
        self,
        job: JobReference,
        timeout: float | None = None,
        on_update: Callable[[Job], None] | None = None,
        *,
        interval: float = 1.0,
        progress: bool = False,
        reconnect_timeout: float = RECONNECT_SECONDS,
    ) -> Job:
        """Waits until the job has ended, and returns it in its terminal state. `on_update` is called after every poll;
        `progress` draws a progress bar on standard error. Continues after the service could not be reached, for
        example while it restarts.

        Raises WaitTimeout after `timeout` seconds; the job keeps running. Raises ConnectionFailed or Unavailable if the
        first poll fails, or `reconnect_timeout` seconds without an answer have passed.

        >>> job = await client.jobs.wait(done.id, progress=True)
        >>> job.state
        'succeeded'
        """
        shown = [show for show in (on_update, ProgressLine() if progress else None) if show is not None]

        def update(job: Job) -> None:
            for show in shown:
                show(job)

        return await wait_until_done(
            self.get,
            job_reference(job),
            timeout=timeout,
            interval=interval,
            reconnect_timeout=reconnect_timeout,
            on_update=update,
        )

    async def events(
        self, job: JobReference, *, last_event_id: str | int | None = None, reconnect_timeout: float = RECONNECT_SECONDS
    ) -> AsyncIterator[JobEvent]:
        """Yields each event of a job once and in order, across dropped connections, until the job has ended.

        Raises ConnectionFailed if the first connection fails five times, unless `last_event_id` resumes a stream, and
        after `reconnect_timeout` seconds without a connection.

        >>> [event.data["state"] async for event in client.jobs.events(done.id) if event.kind == "state"]
        ['queued', 'running', 'succeeded']
        """
        path = await self._path(job) + "/events"
        events = follow(self._transport, path, last_event_id=last_event_id, reconnect_timeout=reconnect_timeout)
        async for event in events:
            yield event

    async def metrics(self, job: JobReference, *, names: Iterable[str] = (), after_step: int | None = None) -> Metrics:
        """Returns the metrics of a job by step: only `names` and only after `after_step`, if given. `.to_frame()`
        converts them to pandas.

        >>> metrics = await client.jobs.metrics(done.id, names=("train/loss",))
        >>> [(point.step, point.values) for point in metrics]
        [(1, {'train/loss': 1.0}), (2, {'train/loss': 0.5})]
        """
        found = Metrics()
        path = await self._path(job) + "/metrics"
        while True:
            params: Params = {"name": texts(names, "names"), "after_step": after_step, "limit": 1000}
            response = await self._transport.request("GET", path, params=params)
            found += read_items(MetricPoint, response)
            if not read_field(response, "has_more"):
                return found
            after_step = read_field(response, "next_after_step")

    async def attempts(self, job: JobReference) -> tuple[Attempt, ...]:
        """Returns the attempts of a job, oldest first.

        >>> [(attempt.number, attempt.outcome) for attempt in await client.jobs.attempts(done.id)]
        [(1, 'succeeded')]
        """
        response = await self._transport.request("GET", await self._path(job) + "/attempts")
        return read_items(Attempt, response)

    async def log(self, job: JobReference) -> str:
        """Returns the trainer's log of the newest attempt. Raises NotFound while it is empty.

        >>> await client.jobs.log(done.id)
        'step 1\\n'
        """
        response = await self._transport.request("GET", await self._path(job) + "/log")
        return response.text

    def follow_log(
        self, job: JobReference, *, interval: float = 2.0, reconnect_timeout: float = RECONNECT_SECONDS
    ) -> AsyncIterator[str]:
        """Yields complete lines of the trainer's log as they arrive, until the job has ended. Polls every `interval`
        seconds. The log of a later attempt follows that of an earlier one.

        Raises ConnectionFailed or Unavailable if the first poll fails, or `reconnect_timeout` seconds without an answer
        have passed.

        >>> async for lines in client.jobs.follow_log(done.id):
        ...     print(lines.rstrip())
        step 1
        """
        return follow_log(self._transport, job, self.get, interval=interval, reconnect_timeout=reconnect_timeout)

    async def report(self, job: JobReference) -> dict[str, Any]:
        """Returns the report of a job that succeeded: accuracy, size, cost and latency of student and teacher.

        >>> report = await client.jobs.report(done.id)
        >>> report["student"]["parameters"]
        11689512
        """
        response = await self._transport.request("GET", await self._path(job) + "/report")
        return read_object(response)

    async def compare(
        self, *jobs: JobReference | Iterable[JobReference], baseline: JobReference | None = None
    ) -> Comparison:
        """Compares 2 to 20 jobs, given one by one or in a list. Jobs that differ only in their seed form a group.
        `baseline` is the job whose group the others are compared with; the most accurate by default.

        Raises NotFound if a job does not exist.

        >>> comparison = await client.jobs.compare(done.id, queued.id)
        >>> [job.id for job in comparison.jobs] == [done.id, queued.id]
        True
        """
        ids = [await job_id(self._transport, job) for part in jobs for job in items(part)]
        params: Params = {"job": ids, "baseline": await self._id(baseline)}
        return read(Comparison, await self._transport.request("GET", "/comparisons", params=params))

    async def damage(self, job: JobReference, *, against: JobReference | None = None) -> DamageReport:
        """Returns what the student lost against its teacher, or against the student of job `against`.

        Raises NotFound without a damage report, and Conflict if the jobs were evaluated on different data.

        >>> report = await client.jobs.damage(distilled)
        >>> report.classes[0].retention_percent < 100
        True
        """
        path = await self._path(job) + "/damage"
        response = await self._transport.request("GET", path, params={"against": await self._id(against)})
        return read(DamageReport, response)

    async def damage_images(
        self,
        job: JobReference,
        *,
        against: JobReference | None = None,
        outcome: str | None = None,
        class_name: str | None = None,
        sort: str | None = None,
    ) -> AsyncIterator[DamageImage]:
        """Yields images that the models get wrong, at most 200: with this `outcome` and true class. `sort` is
        `confidence` or `-confidence`.

        >>> [image.outcome async for image in client.jobs.damage_images(distilled, outcome="gained")][:1]
        ['gained']
        """
        path = await self._path(job) + "/damage/images"
        other = await self._id(against)
        params: Params = {"limit": 200, "against": other, "outcome": outcome, "class": class_name, "sort": sort}
        async for item in pages(self._transport, DamageImage, path, params):
            yield item

    async def damage_image(self, job: JobReference, number: int) -> bytes:
        """Returns the thumbnail of an image of the gallery, as PNG or JPEG.

        >>> (await client.jobs.damage_image(distilled, 0))[1:4]
        b'PNG'
        """
        image = number_segment(number)
        response = await self._transport.request("GET", f"{await self._path(job)}/damage/images/{image}")
        return response.content

    async def predict(self, job: JobReference, image: str | os.PathLike[str]) -> Prediction:
        """Classifies an image file with the student, and with its int8 file and its teacher where the job has them.

        The image is PNG, JPEG, WebP, GIF, BMP or TIFF. Raises InvalidRequest if it cannot be decoded.

        >>> answer = await client.jobs.predict(distilled, photo)
        >>> len(answer.models[0].top)
        5
        """
        path = expanded(image)
        content = await asyncio.to_thread(path.read_bytes)
        response = await self._transport.request(
            "POST", await self._path(job) + "/predict", content=content, headers={"Content-Type": image_type(path)}
        )
        return read(Prediction, response)

    async def artifacts(self, job: JobReference) -> tuple[Artifact, ...]:
        """Returns the files that a job produced.

        >>> [artifact.name for artifact in await client.jobs.artifacts(done.id)]
        ['report.json', 'student.safetensors', 'trainer.log']
        """
        response = await self._transport.request("GET", await self._path(job) + "/artifacts")
        return read_items(Artifact, response)

    async def download_student(
        self, job: JobReference, path: str | os.PathLike[str], progress: Advance | None = None
    ) -> Path:
        """Downloads the trained student to `path`; see `download_artifact`. Raises Conflict unless the job succeeded.

        >>> path = await client.jobs.download_student(done.id, "student.safetensors")
        >>> path.stat().st_size
        1280000
        """
        href = await self._path(job) + "/student"
        # Requests one byte instead of HEAD: an error response to HEAD has no body with the reason.
        first = await self._transport.request("GET", href, params={"redirect": "false"}, headers={"Range": "bytes=0-0"})
        return await download(
            self._transport,
            href,
            expanded(path),
            sha256=read_header(first, "etag").strip('"'),
            size=int(read_header(first, "content-range").rpartition("/")[2]),
            progress=progress,
        )

    async def download_artifact(
        self, job: JobReference, artifact: Artifact | str, path: str | os.PathLike[str], progress: Advance | None = None
    ) -> Path:
        """Downloads an artifact or the one with this name to `path`: resumes an interrupted download, verifies the
        SHA-256, then renames the file.

        `progress` is called with the bytes received and the total. ChecksumMismatch leaves no file.

        >>> report, *others = await client.jobs.artifacts(done.id)
        >>> await client.jobs.download_artifact(done.id, report, "out/report.json")
        PosixPath('out/report.json')
        """
        found = artifact if isinstance(artifact, Artifact) else only_named(await self.artifacts(job), artifact)
        return await download(
            self._transport, found.href, expanded(path), sha256=found.sha256, size=found.size, progress=progress
        )

    async def push(
        self,
        job: JobReference,
        repository: str,
        *,
        public: bool = False,
        revision: str | None = None,
        message: str | None = None,
        progress: Advance | None = None,
    ) -> str:
        """Uploads the student, its ONNX files and its model card to the model repository `OWNER/REPO` of the Hugging
        Face Hub, in one commit. Returns the URL of the commit.

        Needs `pip install "ttm-client[hub]"` and the environment variable HF_TOKEN. Repository and branch `revision`
        are created if they do not exist; a new repository is private unless `public`. Raises HubRefused without a
        token or permission, and HubUnreachable if the Hub is unavailable or limits the rate.

        >>> (await client.jobs.push(distilled, "me/pets")).partition("/me/pets/")[1:]
        ('/me/pets/', 'commit/...')
        """
        token = await asyncio.to_thread(require_hub)
        to = Destination(repository.removeprefix("hf:"), revision, public)
        found = await self.get(job)
        return await push(self._transport, found, to, message=message, token=token, progress=progress)

    async def _path(self, job: JobReference) -> str:
        return await job_path(self._transport, job)

    async def _id(self, job: JobReference | None) -> str | None:
        return None if job is None else await job_id(self._transport, job)

    async def _job(self, method: str, path: str, body: Any = None, *, once: bool = False) -> Job:
        response = await self._transport.request(method, path, body=body, once=once)
        return read(Job, response)
