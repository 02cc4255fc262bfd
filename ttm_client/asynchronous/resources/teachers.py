"""Named, versioned teachers."""

from collections.abc import AsyncIterator
from urllib.parse import quote

from ttm_client.asynchronous.paging import pages
from ttm_client.asynchronous.transport import AsyncTransport
from ttm_client.models.resources import RegisteredTeacher
from ttm_client.options import Part


class AsyncTeachers:
    """Gives names to teachers. A job then says `teacher:NAME`, or `teacher:NAME@VERSION`.

    >>> entry = await client.teachers.create("pets", "job:" + done.id)
    >>> job = await client.jobs.create(teacher=entry.uri, student="resnet18", dataset=dataset)
    >>> job.spec["teacher"]["checkpoint"] == "job:" + done.id
    True
    """

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def create(self, name: str, teacher: Part, *, description: str | None = None) -> RegisteredTeacher:
        """Name a teacher, or add a version to a name. InvalidRequest if it is nothing that a job could use.

        >>> first = await client.teachers.create("pets", "job:" + done.id)
        >>> second = await client.teachers.create("pets", {"checkpoint": "job:" + done.id}, description="Longer.")
        >>> second.uri
        'teacher:pets@2'
        """
        body = {"name": name, "teacher": teacher, "description": description}
        response = await self._transport.request("POST", "/teachers", body=body, once=True)
        return RegisteredTeacher.model_validate_json(response.content)

    async def list(self) -> AsyncIterator[RegisteredTeacher]:
        """The newest version of each name, in order of the names; pages are fetched as needed.

        >>> entry = await client.teachers.create("pets", "job:" + done.id)
        >>> [each.name async for each in client.teachers.list()]
        ['pets']
        """
        async for item in pages(self._transport, "/teachers", {"limit": 200}):
            yield RegisteredTeacher.model_validate(item)

    async def versions(self, name: str) -> AsyncIterator[RegisteredTeacher]:
        """All versions of a name, newest first. NotFound if there is none.

        >>> for _ in range(2):
        ...     named = await client.teachers.create("pets", "job:" + done.id)
        >>> [each.version async for each in client.teachers.versions("pets")]
        [2, 1]
        """
        async for item in pages(self._transport, _path(name) + "/versions", {"limit": 200}):
            yield RegisteredTeacher.model_validate(item)

    async def get(self, name: str, version: int | None = None) -> RegisteredTeacher:
        """A version of a name, or its newest. NotFound if there is none.

        >>> entry = await client.teachers.create("pets", "job:" + done.id)
        >>> (await client.teachers.get("pets")).version
        1
        """
        response = await self._transport.request("GET", _path(name, version))
        return RegisteredTeacher.model_validate_json(response.content)

    async def delete(self, name: str, version: int) -> None:
        """Remove a version. Jobs that were made from it keep what it stood for.

        >>> entry = await client.teachers.create("pets", "job:" + done.id)
        >>> await client.teachers.delete("pets", entry.version)
        """
        await self._transport.request("DELETE", _path(name, version))


def _path(name: str, version: int | None = None) -> str:
    path = f"/teachers/{quote(name, safe='')}"
    return path if version is None else f"{path}/versions/{version}"
