"""The entry point of the SDK."""

from typing import Self

from ttm_client.architectures import Architectures
from ttm_client.jobs import Jobs
from ttm_client.recipes import Recipes
from ttm_client.transport import Transport
from ttm_client.uploads import Uploads


class Client:
    """A connection to a service.

    `base_url` falls back to the environment's TTM_URL and then to http://127.0.0.1:8000, `api_key` to TTM_API_KEY.

        with Client() as client:
            upload = client.uploads.create("teacher.safetensors")
            job = client.jobs.create(teacher=upload.uri, student="resnet20", dataset="file:///data/pets")
            job = client.jobs.wait(job.id)
            client.jobs.download_student(job.id, "student.safetensors")
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
        """Close the connections."""
        self._transport.close()
