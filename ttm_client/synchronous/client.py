# Made from ttm_client/asynchronous/client.py by `python -m ttm_client.make_synchronous`: change it there.
"""The entry point of the SDK."""

from typing import Self

from ttm_client.synchronous.architectures import Architectures
from ttm_client.synchronous.jobs import Jobs
from ttm_client.synchronous.recipes import Recipes
from ttm_client.synchronous.transport import Transport
from ttm_client.synchronous.uploads import Uploads


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
        self.architectures = Architectures(self._transport)
        self.recipes = Recipes(self._transport)

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
