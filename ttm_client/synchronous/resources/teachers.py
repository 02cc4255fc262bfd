# From asynchronous/resources/teachers.py by `python -m ttm_client.codegen.make_synchronous`: edit that.
"""Named, versioned teachers."""

from collections.abc import Iterator
from urllib.parse import quote

from ttm_client.models.resources import RegisteredTeacher
from ttm_client.options import Part
from ttm_client.synchronous.paging import pages
from ttm_client.synchronous.transport import Transport


class Teachers:
    """Gives names to teachers. A job then says `teacher:NAME`, or `teacher:NAME@VERSION`.

    >>> entry = client.teachers.create("pets", "job:" + done.id)
    >>> job = client.jobs.create(teacher=entry.uri, student="resnet18", dataset=dataset)
    >>> job.spec["teacher"]["checkpoint"] == "job:" + done.id
    True
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, name: str, teacher: Part, *, description: str | None = None) -> RegisteredTeacher:
        """Name a teacher, or add a version to a name. InvalidRequest if it is nothing that a job could use.

        >>> first = client.teachers.create("pets", "job:" + done.id)
        >>> second = client.teachers.create("pets", {"checkpoint": "job:" + done.id}, description="Longer.")
        >>> second.uri
        'teacher:pets@2'
        """
        body = {"name": name, "teacher": teacher, "description": description}
        response = self._transport.request("POST", "/teachers", body=body, once=True)
        return RegisteredTeacher.model_validate_json(response.content)

    def list(self) -> Iterator[RegisteredTeacher]:
        """The newest version of each name, in order of the names; pages are fetched as needed.

        >>> entry = client.teachers.create("pets", "job:" + done.id)
        >>> [each.name for each in client.teachers.list()]
        ['pets']
        """
        for item in pages(self._transport, "/teachers", {"limit": 200}):
            yield RegisteredTeacher.model_validate(item)

    def versions(self, name: str) -> Iterator[RegisteredTeacher]:
        """All versions of a name, newest first. NotFound if there is none.

        >>> for _ in range(2):
        ...     named = client.teachers.create("pets", "job:" + done.id)
        >>> [each.version for each in client.teachers.versions("pets")]
        [2, 1]
        """
        for item in pages(self._transport, _path(name) + "/versions", {"limit": 200}):
            yield RegisteredTeacher.model_validate(item)

    def get(self, name: str, version: int | None = None) -> RegisteredTeacher:
        """A version of a name, or its newest. NotFound if there is none.

        >>> entry = client.teachers.create("pets", "job:" + done.id)
        >>> (client.teachers.get("pets")).version
        1
        """
        response = self._transport.request("GET", _path(name, version))
        return RegisteredTeacher.model_validate_json(response.content)

    def delete(self, name: str, version: int) -> None:
        """Remove a version. Jobs that were made from it keep what it stood for.

        >>> entry = client.teachers.create("pets", "job:" + done.id)
        >>> client.teachers.delete("pets", entry.version)
        """
        self._transport.request("DELETE", _path(name, version))


def _path(name: str, version: int | None = None) -> str:
    path = f"/teachers/{quote(name, safe='')}"
    return path if version is None else f"{path}/versions/{version}"
