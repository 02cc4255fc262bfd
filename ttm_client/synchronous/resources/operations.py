# From asynchronous/resources/operations.py by `python -m ttm_client.codegen.make_synchronous`: edit that.
"""Workers, the queue and teacher stores."""

from collections.abc import Iterator

from ttm_client.models.resources import QueueOverview, TeacherStore, WaitingJob, Worker
from ttm_client.responses import read, read_items
from ttm_client.synchronous.paging import pages
from ttm_client.synchronous.transport import Transport


class Workers:
    """Lists workers.

    >>> [worker.hostname for worker in client.workers.list()]
    ['gpu-7']
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> Iterator[Worker]:
        """Yields the workers that reported recently, oldest first.

        >>> [(worker.queues, worker.devices[0]["kind"]) for worker in client.workers.list()]
        [(('default',), 'cuda')]
        """
        response = self._transport.request("GET", "/workers")
        yield from read_items(Worker, response)


class Queue:
    """Shows queued jobs in scheduling order.

    >>> [(job.position, job.blocked_on) for job in client.queue.jobs()]
    [(1, 'queue')]
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def get(self) -> QueueOverview:
        """Returns the numbers of queued and running jobs, and for each queue its workers and the project's position.

        >>> queue = client.queue.get()
        >>> queue.depth, queue.queues[0].idle_workers
        (1, 1)
        """
        response = self._transport.request("GET", "/queue")
        return read(QueueOverview, response)

    def jobs(self, queue: str | None = None) -> Iterator[WaitingJob]:
        """Yields the project's queued jobs in scheduling order. `queue` defaults to the service's first queue. Pages
        are
        requested as needed.

        >>> [job.id == queued.id for job in client.queue.jobs("default")]
        [True]
        """
        yield from pages(self._transport, WaitingJob, "/queue/jobs", {"queue": queue, "limit": 200})


class TeacherStores:
    """Lists teacher stores.

    >>> [store.cache_hits for store in client.teacher_stores.list()]
    [24000]
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> Iterator[TeacherStore]:
        """Yields the stores that jobs of the project filled or read, most recently used first. Pages are requested as
        needed.

        >>> [store.encoding for store in client.teacher_stores.list()]
        ['float16']
        """
        yield from pages(self._transport, TeacherStore, "/teacher-stores", {"limit": 200})
