"""Workers, the queue and teacher stores."""

from collections.abc import AsyncIterator

from ttm_client.asynchronous.paging import pages
from ttm_client.asynchronous.transport import AsyncTransport
from ttm_client.models.resources import QueueOverview, TeacherStore, WaitingJob, Worker
from ttm_client.responses import read, read_items


class AsyncWorkers:
    """Lists workers.

    >>> [worker.hostname async for worker in client.workers.list()]
    ['gpu-7']
    """

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def list(self) -> AsyncIterator[Worker]:
        """Yields the workers that reported recently, oldest first.

        >>> [(worker.queues, worker.devices[0]["kind"]) async for worker in client.workers.list()]
        [(('default',), 'cuda')]
        """
        response = await self._transport.request("GET", "/workers")
        for item in read_items(Worker, response):
            yield item


class AsyncQueue:
    """Shows queued jobs in scheduling order.

    >>> [(job.position, job.blocked_on) async for job in client.queue.jobs()]
    [(1, 'queue')]
    """

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def get(self) -> QueueOverview:
        """Returns the numbers of queued and running jobs, and for each queue its workers and the project's position.

        >>> queue = await client.queue.get()
        >>> queue.depth, queue.queues[0].idle_workers
        (1, 1)
        """
        response = await self._transport.request("GET", "/queue")
        return read(QueueOverview, response)

    async def jobs(self, queue: str | None = None) -> AsyncIterator[WaitingJob]:
        """Yields the project's queued jobs in scheduling order. `queue` defaults to the service's first queue. Pages
        are
        requested as needed.

        >>> [job.id == queued.id async for job in client.queue.jobs("default")]
        [True]
        """
        async for item in pages(self._transport, WaitingJob, "/queue/jobs", {"queue": queue, "limit": 200}):
            yield item


class AsyncTeacherStores:
    """Lists teacher stores.

    >>> [store.cache_hits async for store in client.teacher_stores.list()]
    [24000]
    """

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def list(self) -> AsyncIterator[TeacherStore]:
        """Yields the stores that jobs of the project filled or read, most recently used first. Pages are requested as
        needed.

        >>> [store.encoding async for store in client.teacher_stores.list()]
        ['float16']
        """
        async for item in pages(self._transport, TeacherStore, "/teacher-stores", {"limit": 200}):
            yield item
