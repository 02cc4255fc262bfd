# Generated from asynchronous/resources/operations.py by `python -m ttm_client.codegen.make_synchronous`: edit that file.
"""What works and what waits: workers, the queue, teacher stores."""

import json
from collections.abc import Iterator

from ttm_client.models.resources import QueueOverview, TeacherStore, WaitingJob, Worker
from ttm_client.synchronous.paging import pages
from ttm_client.synchronous.transport import Transport


class Workers:
    """Looks at the processes that take jobs.

    >>> [worker.hostname for worker in client.workers.list()]
    ['gpu-7']
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> Iterator[Worker]:
        """Those heard of lately, oldest first.

        >>> [(worker.queues, worker.devices[0]["kind"]) for worker in client.workers.list()]
        [(('default',), 'cuda')]
        """
        response = self._transport.request("GET", "/workers")
        for item in json.loads(response.content)["items"]:
            yield Worker.model_validate(item)


class Queue:
    """Looks at what waits, in the order in which it is taken.

    >>> [(job.position, job.blocked_on) for job in client.queue.jobs()]
    [(1, 'turn')]
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def get(self) -> QueueOverview:
        """How much of the project waits and runs, and of each queue who serves it and whose turn it is.

        >>> queue = client.queue.get()
        >>> queue.depth, queue.queues[0].idle_workers
        (1, 1)
        """
        response = self._transport.request("GET", "/queue")
        return QueueOverview.model_validate_json(response.content)

    def jobs(self, queue: str | None = None) -> Iterator[WaitingJob]:
        """The project's jobs that wait in a queue, the first of the service's if none is named; the next first. Pages
        are fetched as needed.

        >>> [job.id == queued.id for job in client.queue.jobs("default")]
        [True]
        """
        for item in pages(self._transport, "/queue/jobs", {"queue": queue, "limit": 200}):
            yield WaitingJob.model_validate(item)


class TeacherStores:
    """Looks at the teachers' logits that workers keep.

    >>> [store.hits for store in client.teacher_stores.list()]
    [24000]
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> Iterator[TeacherStore]:
        """Those that jobs of the project filled or read, the most recently used first; pages are fetched as needed.

        >>> [store.encoding for store in client.teacher_stores.list()]
        ['float16']
        """
        for item in pages(self._transport, "/teacher-stores", {"limit": 200}):
            yield TeacherStore.model_validate(item)
