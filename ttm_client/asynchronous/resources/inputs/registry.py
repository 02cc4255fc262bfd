"""The registry: named, versioned teachers and datasets."""

from collections.abc import AsyncIterator

from ttm_client.asynchronous.paging import pages
from ttm_client.asynchronous.specs import with_uploads
from ttm_client.asynchronous.transport import AsyncTransport
from ttm_client.models.resources import RegisteredDataset, RegisteredTeacher
from ttm_client.options import Part
from ttm_client.protocol import number_segment, segment, version_number
from ttm_client.references import dataset_name, teacher_name
from ttm_client.responses import read


class AsyncTeachers:
    """Registers teachers under names. A job refers to one as `teacher:NAME` or `teacher:NAME@VERSION`.

    >>> entry = await client.teachers.create("pets", "job:" + done.id)
    >>> job = await client.jobs.create(teacher=entry.uri, student="resnet18", dataset=dataset)
    >>> job.spec["teacher"]["checkpoint"] == "job:" + done.id
    True
    """

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def create(self, name: str, teacher: Part, *, description: str | None = None) -> RegisteredTeacher:
        """Registers a teacher, or a new version of one. Local files are uploaded as for jobs. Raises InvalidRequest for
        a teacher that no job could use.

        >>> first = await client.teachers.create("pets", "job:" + done.id)
        >>> second = await client.teachers.create("pets", {"checkpoint": "job:" + done.id}, description="Longer.")
        >>> second.uri
        'teacher:pets@2'
        """
        body = await with_uploads(self._transport, {"name": name, "teacher": teacher, "description": description})
        response = await self._transport.request("POST", "/teachers", body=body, once=True)
        return read(RegisteredTeacher, response)

    async def list(self) -> AsyncIterator[RegisteredTeacher]:
        """Yields the newest version of each name in alphabetical order. Pages are requested as needed.

        >>> entry = await client.teachers.create("pets", "job:" + done.id)
        >>> [each.name async for each in client.teachers.list()]
        ['pets']
        """
        async for item in pages(self._transport, RegisteredTeacher, "/teachers", {"limit": 200}):
            yield item

    async def versions(self, name: str | RegisteredTeacher) -> AsyncIterator[RegisteredTeacher]:
        """Yields all versions of a name, newest first. Raises NotFound if the name does not exist.

        >>> for _ in range(2):
        ...     named = await client.teachers.create("pets", "job:" + done.id)
        >>> [each.version async for each in client.teachers.versions("pets")]
        [2, 1]
        """
        path = _path("teachers", teacher_name(name)) + "/versions"
        async for item in pages(self._transport, RegisteredTeacher, path, {"limit": 200}):
            yield item

    async def get(self, name: str | RegisteredTeacher, version: int | None = None) -> RegisteredTeacher:
        """Returns a version of a name; the newest by default. Raises NotFound if it does not exist.

        >>> entry = await client.teachers.create("pets", "job:" + done.id)
        >>> (await client.teachers.get("pets")).version
        1
        """
        response = await self._transport.request("GET", _path("teachers", teacher_name(name), version))
        return read(RegisteredTeacher, response)

    async def delete(self, name: str | RegisteredTeacher, version: int | None = None) -> None:
        """Deletes a teacher that was returned, or a `version` of a name. Existing jobs keep the resolved value.

        >>> entry = await client.teachers.create("pets", "job:" + done.id)
        >>> await client.teachers.delete(entry)
        """
        number = name.version if version is None and isinstance(name, RegisteredTeacher) else version
        await self._transport.request("DELETE", _path("teachers", teacher_name(name), version_number(number)))


class AsyncDatasets:
    """Registers datasets under names. A job refers to one as `dataset:NAME` or `dataset:NAME@VERSION`.

    >>> entry = await client.datasets.create("pets", dataset)
    >>> job = await client.jobs.create(student="resnet18", dataset=entry.uri, method="ce")
    >>> job.spec["dataset"]["uri"] == dataset
    True
    """

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def create(self, name: str, dataset: Part, *, description: str | None = None) -> RegisteredDataset:
        """Registers a dataset, or a new version of one. Local files are uploaded as for jobs; local folders become
        file:// URIs. Raises InvalidRequest for a dataset that no job could use.

        >>> first = await client.datasets.create("pets", dataset)
        >>> second = await client.datasets.create("pets", {"uri": dataset}, description="Without duplicates.")
        >>> second.uri
        'dataset:pets@2'
        """
        body = await with_uploads(self._transport, {"name": name, "dataset": dataset, "description": description})
        response = await self._transport.request("POST", "/datasets", body=body, once=True)
        return read(RegisteredDataset, response)

    async def list(self) -> AsyncIterator[RegisteredDataset]:
        """Yields the newest version of each name in alphabetical order. Pages are requested as needed.

        >>> entry = await client.datasets.create("pets", dataset)
        >>> [each.name async for each in client.datasets.list()]
        ['pets']
        """
        async for item in pages(self._transport, RegisteredDataset, "/datasets", {"limit": 200}):
            yield item

    async def versions(self, name: str | RegisteredDataset) -> AsyncIterator[RegisteredDataset]:
        """Yields all versions of a name, newest first. Raises NotFound if the name does not exist.

        >>> for _ in range(2):
        ...     named = await client.datasets.create("pets", dataset)
        >>> [each.version async for each in client.datasets.versions("pets")]
        [2, 1]
        """
        path = _path("datasets", dataset_name(name)) + "/versions"
        async for item in pages(self._transport, RegisteredDataset, path, {"limit": 200}):
            yield item

    async def get(self, name: str | RegisteredDataset, version: int | None = None) -> RegisteredDataset:
        """Returns a version of a name; the newest by default. Raises NotFound if it does not exist.

        >>> entry = await client.datasets.create("pets", dataset)
        >>> (await client.datasets.get("pets")).version
        1
        """
        response = await self._transport.request("GET", _path("datasets", dataset_name(name), version))
        return read(RegisteredDataset, response)

    async def delete(self, name: str | RegisteredDataset, version: int | None = None) -> None:
        """Deletes a dataset that was returned, or a `version` of a name. Existing jobs keep the resolved value.

        >>> entry = await client.datasets.create("pets", dataset)
        >>> await client.datasets.delete(entry)
        """
        number = name.version if version is None and isinstance(name, RegisteredDataset) else version
        await self._transport.request("DELETE", _path("datasets", dataset_name(name), version_number(number)))


def _path(kind: str, name: str, version: int | None = None) -> str:
    path = f"/{kind}/{segment(name)}"
    return path if version is None else f"{path}/versions/{number_segment(version)}"
