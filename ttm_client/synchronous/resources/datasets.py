# From asynchronous/resources/datasets.py by `python -m ttm_client.codegen.make_synchronous`: edit that.
"""Named, versioned datasets."""

from collections.abc import Iterator
from urllib.parse import quote

from ttm_client.models.resources import RegisteredDataset
from ttm_client.options import Part
from ttm_client.synchronous.paging import pages
from ttm_client.synchronous.transport import Transport


class Datasets:
    """Gives names to datasets. A job then says `dataset:NAME`, or `dataset:NAME@VERSION`.

    >>> entry = client.datasets.create("pets", dataset)
    >>> job = client.jobs.create(student="resnet18", dataset=entry.uri, method="ce")
    >>> job.spec["dataset"]["uri"] == dataset
    True
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, name: str, dataset: Part, *, description: str | None = None) -> RegisteredDataset:
        """Name a dataset, or add a version to a name. InvalidRequest if it is nothing that a job could use.

        >>> first = client.datasets.create("pets", dataset)
        >>> second = client.datasets.create("pets", {"uri": dataset}, description="Without the doubles.")
        >>> second.uri
        'dataset:pets@2'
        """
        body = {"name": name, "dataset": dataset, "description": description}
        response = self._transport.request("POST", "/datasets", body=body, once=True)
        return RegisteredDataset.model_validate_json(response.content)

    def list(self) -> Iterator[RegisteredDataset]:
        """The newest version of each name, in order of the names; pages are fetched as needed.

        >>> entry = client.datasets.create("pets", dataset)
        >>> [each.name for each in client.datasets.list()]
        ['pets']
        """
        for item in pages(self._transport, "/datasets", {"limit": 200}):
            yield RegisteredDataset.model_validate(item)

    def versions(self, name: str) -> Iterator[RegisteredDataset]:
        """All versions of a name, newest first. NotFound if there is none.

        >>> for _ in range(2):
        ...     named = client.datasets.create("pets", dataset)
        >>> [each.version for each in client.datasets.versions("pets")]
        [2, 1]
        """
        for item in pages(self._transport, _path(name) + "/versions", {"limit": 200}):
            yield RegisteredDataset.model_validate(item)

    def get(self, name: str, version: int | None = None) -> RegisteredDataset:
        """A version of a name, or its newest. NotFound if there is none.

        >>> entry = client.datasets.create("pets", dataset)
        >>> (client.datasets.get("pets")).version
        1
        """
        response = self._transport.request("GET", _path(name, version))
        return RegisteredDataset.model_validate_json(response.content)

    def delete(self, name: str, version: int) -> None:
        """Remove a version. Jobs that were made from it keep what it stood for.

        >>> entry = client.datasets.create("pets", dataset)
        >>> client.datasets.delete("pets", entry.version)
        """
        self._transport.request("DELETE", _path(name, version))


def _path(name: str, version: int | None = None) -> str:
    path = f"/datasets/{quote(name, safe='')}"
    return path if version is None else f"{path}/versions/{version}"
