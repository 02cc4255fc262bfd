"""Studies."""

import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Unpack

from ttm_client.asynchronous.events import follow
from ttm_client.asynchronous.paging import pages
from ttm_client.asynchronous.polling import wait_until_done
from ttm_client.asynchronous.references import find_study, study_path
from ttm_client.asynchronous.resources.jobs import AsyncJobs
from ttm_client.asynchronous.specs import with_uploads
from ttm_client.asynchronous.transport import AsyncTransport
from ttm_client.errors import NotFound
from ttm_client.models.jobs import JobEvent
from ttm_client.models.studies import (
    Study,
    StudyCandidate,
    StudyOption,
    StudyPlan,
    StudyRecommendation,
    StudyReplay,
    StudySummary,
)
from ttm_client.options import Part, StudyOptions, study_of, texts
from ttm_client.protocol import RECONNECT_SECONDS, Advance, Params
from ttm_client.references import StudyReference, study_reference
from ttm_client.responses import read, read_items


class AsyncStudies:
    """Finds the student that meets limits on accuracy, size and latency.

    >>> created = await client.studies.create(
    ...     teacher="job:" + done.id, dataset=dataset, limits={"retention": 0.97, "bytes": 5_000_000}
    ... )
    >>> created.state, created.stage, created.goal
    ('running', 'screen', 'smallest')
    """

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def create(
        self, *, teacher: Part, dataset: Part, limits: Mapping[str, Any], **options: Unpack[StudyOptions]
    ) -> Study:
        """Submits a study. Local files are uploaded as for jobs. A request whose response was lost is sent again and
        creates one study. Raises InvalidRequest, with one entry per invalid field.

        >>> created = await client.studies.create(
        ...     teacher="job:" + done.id,
        ...     dataset=dataset,
        ...     limits={"latency_ms": 10},
        ...     students=["resnet18", {"family": "mobilenetv3_*"}],
        ...     search={"training.optimizer.learning_rate": {"log": [0.01, 0.2]}},
        ... )
        >>> created.goal
        'most_accurate'
        """
        spec = await with_uploads(self._transport, study_of(dataset, teacher, limits, options))
        return await self._study("POST", "/studies", spec, once=True)

    async def validate(
        self, *, teacher: Part, dataset: Part, limits: Mapping[str, Any], **options: Unpack[StudyOptions]
    ) -> StudyPlan:
        """Checks a study without submitting it. Takes the arguments of `create` and raises the same errors.

        >>> plan = await client.studies.validate(
        ...     teacher="job:" + done.id, dataset=dataset, limits={"retention": 0.9}, students=["resnet18", "resnet34"]
        ... )
        >>> [candidate["label"] for candidate in plan.candidates]
        ['resnet18', 'resnet34']
        """
        spec = await with_uploads(self._transport, study_of(dataset, teacher, limits, options))
        response = await self._transport.request("POST", "/studies/validate", body=spec, once=True)
        return read(StudyPlan, response)

    async def get(self, study: StudyReference) -> Study:
        """Returns a study. Like all methods, takes its id, a unique prefix of the id, its unique name, or a response
        that describes the study. Raises NotFound if it does not exist, and Conflict if several studies match.

        >>> (await client.studies.get(study.id)).state
        'succeeded'
        """
        return await find_study(self._transport, study)

    async def list(self, *, states: Iterable[str] = ()) -> AsyncIterator[StudySummary]:
        """Yields studies, newest first, in any of `states`. Pages are requested as needed.

        >>> [each.name async for each in client.studies.list(states=("succeeded", "failed"))]
        ['kiosk']
        """
        params: Params = {"limit": 100, "state": texts(states, "states")}
        async for item in pages(self._transport, StudySummary, "/studies", params):
            yield item

    async def wait(
        self,
        study: StudyReference,
        timeout: float | None = None,
        on_update: Callable[[Study], None] | None = None,
        *,
        interval: float = 2.0,
        reconnect_timeout: float = RECONNECT_SECONDS,
    ) -> Study:
        """Waits until the study has ended, and returns it. `on_update` is called after every poll. Continues after the
        service could not be reached, for example while it restarts.

        Raises WaitTimeout after `timeout` seconds; the study continues. Raises ConnectionFailed or Unavailable if the
        first poll fails, or `reconnect_timeout` seconds without an answer have passed.

        >>> ended = await client.studies.wait(study.id)
        >>> ended.recommendation.candidate
        1
        """
        return await wait_until_done(
            self.get,
            study_reference(study),
            timeout=timeout,
            interval=interval,
            reconnect_timeout=reconnect_timeout,
            on_update=on_update or (lambda study: None),
        )

    async def events(
        self,
        study: StudyReference,
        *,
        last_event_id: str | int | None = None,
        reconnect_timeout: float = RECONNECT_SECONDS,
    ) -> AsyncIterator[JobEvent]:
        """Yields each event of a study once and in order, across dropped connections, until the study has ended.

        Raises ConnectionFailed if the first connection fails five times, unless `last_event_id` resumes a stream, and
        after `reconnect_timeout` seconds without a connection.

        >>> [event.data["stage"] async for event in client.studies.events(study.id) if event.kind == "stage"]
        ['teacher', 'rungs', 'finals', 'baseline', 'result']
        """
        path = f"{await self._path(study)}/events"
        events = follow(self._transport, path, last_event_id=last_event_id, reconnect_timeout=reconnect_timeout)
        async for event in events:
            yield event

    async def candidates(self, study: StudyReference) -> tuple[StudyCandidate, ...]:
        """Returns the candidates of a study by number.

        >>> [candidate.parameters for candidate in await client.studies.candidates(study.id)][:2]
        [83892, 181108]
        """
        response = await self._transport.request("GET", f"{await self._path(study)}/candidates")
        return read_items(StudyCandidate, response)

    async def front(self, study: StudyReference) -> tuple[StudyOption, ...]:
        """Returns the files of the finalists that no other matches or exceeds in accuracy, size and latency, the
        smallest first. Empty until the study has ended.

        >>> front = await client.studies.front(study.id)
        >>> front[0].bytes < front[-1].bytes
        True
        """
        response = await self._transport.request("GET", f"{await self._path(study)}/front")
        return read_items(StudyOption, response)

    async def recommendation(self, study: StudyReference) -> StudyRecommendation:
        """Returns the recommended student. Raises Conflict until the study has ended.

        >>> (await client.studies.recommendation(study.id)).meets_limits
        True
        """
        response = await self._transport.request("GET", f"{await self._path(study)}/recommendation")
        return read(StudyRecommendation, response)

    async def replay(self, study: StudyReference) -> StudyReplay:
        """Computes the decisions of a study again from its stored results, and compares them.

        >>> (await client.studies.replay(study.id)).agrees
        True
        """
        response = await self._transport.request("GET", f"{await self._path(study)}/replay")
        return read(StudyReplay, response)

    async def cancel(self, study: StudyReference) -> Study:
        """Cancels a study and its jobs. Calling it again has no effect. Raises Conflict if the study has ended.

        >>> created = await client.studies.create(teacher="job:" + done.id, dataset=dataset, limits={"retention": 0.9})
        >>> (await client.studies.cancel(created.id)).state
        'cancelled'
        """
        return await self._study("POST", await self._path(study) + "/cancel")

    async def pause(self, study: StudyReference) -> Study:
        """Pauses a study and its jobs. Raises Conflict unless the study is running.

        >>> created = await client.studies.create(teacher="job:" + done.id, dataset=dataset, limits={"retention": 0.9})
        >>> (await client.studies.pause(created.id)).state
        'paused'
        """
        return await self._study("POST", await self._path(study) + "/pause")

    async def resume(self, study: StudyReference) -> Study:
        """Continues a paused study. Raises Conflict unless the study is paused.

        >>> created = await client.studies.create(teacher="job:" + done.id, dataset=dataset, limits={"retention": 0.9})
        >>> paused = await client.studies.pause(created.id)
        >>> (await client.studies.resume(paused.id)).state
        'running'
        """
        return await self._study("POST", await self._path(study) + "/resume")

    async def delete(self, study: StudyReference) -> None:
        """Deletes a study that has ended, with its jobs. Raises Conflict in any other state.

        >>> await client.studies.delete(study.id)
        """
        await self._transport.request("DELETE", await self._path(study))

    async def download_student(
        self, study: StudyReference, path: str | os.PathLike[str], progress: Advance | None = None
    ) -> Path:
        """Downloads the recommended student to `path`. Raises Conflict until the study has ended, and NotFound if no
        job trained the student or the job was deleted.

        >>> path = await client.studies.download_student(study.id, "student.safetensors")
        >>> path.stat().st_size
        1280000
        """
        found = await self.recommendation(study)
        if found.job is None:
            detail = "There is no file: no job trained the recommended student, or the job was deleted."
            raise NotFound(status=404, code="job_not_found", title="Not Found", detail=detail)
        return await AsyncJobs(self._transport).download_student(found.job, path, progress)

    async def _path(self, study: StudyReference) -> str:
        return await study_path(self._transport, study)

    async def _study(self, method: str, path: str, body: Any = None, *, once: bool = False) -> Study:
        response = await self._transport.request(method, path, body=body, once=once)
        return read(Study, response)
