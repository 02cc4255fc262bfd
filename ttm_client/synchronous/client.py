# Generated from asynchronous/client.py by `python -m ttm_client.codegen.make_synchronous`: edit that file.
"""The entry point of the SDK."""

from typing import Self

from ttm_client.models.resources import Usage
from ttm_client.synchronous.resources.architectures import Architectures
from ttm_client.synchronous.resources.datasets import Datasets
from ttm_client.synchronous.resources.jobs import Jobs
from ttm_client.synchronous.resources.keys import Keys
from ttm_client.synchronous.resources.operations import Queue, TeacherStores, Workers
from ttm_client.synchronous.resources.recipes import Recipes
from ttm_client.synchronous.resources.teachers import Teachers
from ttm_client.synchronous.resources.uploads import Uploads
from ttm_client.synchronous.resources.webhooks import Webhooks
from ttm_client.synchronous.transport import Transport


class Client:
    """A connection to a service.

    `base_url` falls back to the environment's TTM_URL and then to http://127.0.0.1:8000, `api_key` to TTM_API_KEY.
    `timeout` is of one answer, in seconds.

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
        self.uploads = Uploads(self._transport)
        self.teachers = Teachers(self._transport)
        self.datasets = Datasets(self._transport)
        self.architectures = Architectures(self._transport)
        self.recipes = Recipes(self._transport)
        self.queue = Queue(self._transport)
        self.workers = Workers(self._transport)
        self.teacher_stores = TeacherStores(self._transport)
        self.keys = Keys(self._transport)
        self.webhooks = Webhooks(self._transport)

    def usage(self) -> Usage:
        """What the project of the key has and has used, beside its limits.

        >>> used = client.usage()
        >>> used.queued_jobs, used.limits.queued_jobs
        (1, None)
        """
        response = self._transport.request("GET", "/usage")
        return Usage.model_validate_json(response.content)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; leaving `with` does it, too.

        >>> other = Client()
        >>> other.close()
        """
        self._transport.close()
