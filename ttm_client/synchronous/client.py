# From asynchronous/client.py by `python -m ttm_client.codegen.make_synchronous`: edit that.
"""The client object."""

from typing import Self

from ttm_client.models.resources import Usage
from ttm_client.responses import read
from ttm_client.synchronous.resources.activity.audit import Audit
from ttm_client.synchronous.resources.activity.events import Events
from ttm_client.synchronous.resources.catalogue import Architectures, Recipes
from ttm_client.synchronous.resources.inputs.registry import Datasets, Teachers
from ttm_client.synchronous.resources.inputs.uploads import Uploads
from ttm_client.synchronous.resources.jobs import Jobs
from ttm_client.synchronous.resources.keys import Keys
from ttm_client.synchronous.resources.measurements import Devices, Measurements
from ttm_client.synchronous.resources.operations import Queue, TeacherStores, Workers
from ttm_client.synchronous.resources.projects import Projects
from ttm_client.synchronous.resources.studies import Studies
from ttm_client.synchronous.resources.views import Views
from ttm_client.synchronous.resources.webhooks import Webhooks
from ttm_client.synchronous.transport import Transport


class Client:
    """A client for one service.

    `base_url` falls back to the environment variable TTM_URL, then to http://127.0.0.1:8000; `api_key` falls back to
    TTM_API_KEY. `timeout` is the time limit of one response in seconds. Raises ValueError if the URL or the key is
    malformed, the timeout is not positive, or the certificates that SSL_CERT_FILE names cannot be read.

    >>> with Client() as client:
    ...     upload = client.uploads.create("teacher.safetensors")
    ...     job = client.jobs.create(teacher=upload.uri, student="resnet18", dataset=dataset)
    ...     print(job.state)
    queued
    """

    def __init__(self, base_url: str | None = None, api_key: str | None = None, *, timeout: float = 30.0) -> None:
        self._transport = Transport(base_url, api_key, timeout=timeout)
        self.base_url = self._transport.base_url
        self.jobs = Jobs(self._transport)
        self.studies = Studies(self._transport)
        self.events = Events(self._transport)
        self.views = Views(self._transport)
        self.uploads = Uploads(self._transport)
        self.teachers = Teachers(self._transport)
        self.datasets = Datasets(self._transport)
        self.architectures = Architectures(self._transport)
        self.recipes = Recipes(self._transport)
        self.queue = Queue(self._transport)
        self.workers = Workers(self._transport)
        self.teacher_stores = TeacherStores(self._transport)
        self.measurements = Measurements(self._transport)
        self.devices = Devices(self._transport)
        self.keys = Keys(self._transport)
        self.projects = Projects(self._transport)
        self.webhooks = Webhooks(self._transport)
        self.audit = Audit(self._transport)

    def usage(self) -> Usage:
        """Returns the resource use and the limits of the API key's project.

        >>> used = client.usage()
        >>> used.queued_jobs, used.limits.queued_jobs
        (1, 10000)
        """
        response = self._transport.request("GET", "/usage")
        return read(Usage, response)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections. Leaving `with` also closes them.

        >>> other = Client()
        >>> other.close()
        """
        self._transport.close()
