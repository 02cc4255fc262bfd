"""The client object."""

from typing import Self

from ttm_client.asynchronous.resources.activity.audit import AsyncAudit
from ttm_client.asynchronous.resources.activity.events import AsyncEvents
from ttm_client.asynchronous.resources.catalogue import AsyncArchitectures, AsyncRecipes
from ttm_client.asynchronous.resources.inputs.registry import AsyncDatasets, AsyncTeachers
from ttm_client.asynchronous.resources.inputs.uploads import AsyncUploads
from ttm_client.asynchronous.resources.jobs import AsyncJobs
from ttm_client.asynchronous.resources.keys import AsyncKeys
from ttm_client.asynchronous.resources.measurements import AsyncDevices, AsyncMeasurements
from ttm_client.asynchronous.resources.operations import AsyncQueue, AsyncTeacherStores, AsyncWorkers
from ttm_client.asynchronous.resources.projects import AsyncProjects
from ttm_client.asynchronous.resources.studies import AsyncStudies
from ttm_client.asynchronous.resources.views import AsyncViews
from ttm_client.asynchronous.resources.webhooks import AsyncWebhooks
from ttm_client.asynchronous.transport import AsyncTransport
from ttm_client.models.resources import Usage
from ttm_client.responses import read


class AsyncClient:
    """A client for one service.

    `base_url` falls back to the environment variable TTM_URL, then to http://127.0.0.1:8000; `api_key` falls back to
    TTM_API_KEY. `timeout` is the time limit of one response in seconds. Raises ValueError if the URL or the key is
    malformed, the timeout is not positive, or the certificates that SSL_CERT_FILE names cannot be read.

    >>> async with AsyncClient() as client:
    ...     upload = await client.uploads.create("teacher.safetensors")
    ...     job = await client.jobs.create(teacher=upload.uri, student="resnet18", dataset=dataset)
    ...     print(job.state)
    queued
    """

    def __init__(self, base_url: str | None = None, api_key: str | None = None, *, timeout: float = 30.0) -> None:
        self._transport = AsyncTransport(base_url, api_key, timeout=timeout)
        self.base_url = self._transport.base_url
        self.jobs = AsyncJobs(self._transport)
        self.studies = AsyncStudies(self._transport)
        self.events = AsyncEvents(self._transport)
        self.views = AsyncViews(self._transport)
        self.uploads = AsyncUploads(self._transport)
        self.teachers = AsyncTeachers(self._transport)
        self.datasets = AsyncDatasets(self._transport)
        self.architectures = AsyncArchitectures(self._transport)
        self.recipes = AsyncRecipes(self._transport)
        self.queue = AsyncQueue(self._transport)
        self.workers = AsyncWorkers(self._transport)
        self.teacher_stores = AsyncTeacherStores(self._transport)
        self.measurements = AsyncMeasurements(self._transport)
        self.devices = AsyncDevices(self._transport)
        self.keys = AsyncKeys(self._transport)
        self.projects = AsyncProjects(self._transport)
        self.webhooks = AsyncWebhooks(self._transport)
        self.audit = AsyncAudit(self._transport)

    async def usage(self) -> Usage:
        """Returns the resource use and the limits of the API key's project.

        >>> used = await client.usage()
        >>> used.queued_jobs, used.limits.queued_jobs
        (1, 10000)
        """
        response = await self._transport.request("GET", "/usage")
        return read(Usage, response)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections. Leaving `async with` also closes them.

        >>> other = AsyncClient()
        >>> await other.close()
        """
        await self._transport.close()
