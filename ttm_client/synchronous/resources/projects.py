# From asynchronous/resources/projects.py by `python -m ttm_client.codegen.make_synchronous`: edit that.
"""The sources that projects may read."""

import os
from collections.abc import Sequence

from ttm_client.models.resources import ProjectSources
from ttm_client.options import items
from ttm_client.protocol import segment
from ttm_client.references import project_name
from ttm_client.responses import read
from ttm_client.synchronous.transport import Transport


class Projects:
    """Restricts which folders, hosts and buckets the jobs of a project may read. Changes need an API key with the scope
    `admin` of the project `default`.

    >>> (client.projects.sources("default")).restricted
    False
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def sources(self, project: str | ProjectSources) -> ProjectSources:
        """Returns what the jobs of the project may read. Raises NotFound if it does not exist, or if it is neither the
        key's project nor the key is one of the project `default`.

        >>> (client.projects.sources("default")).origins
        ()
        """
        response = self._transport.request("GET", _path(project))
        return read(ProjectSources, response)

    def restrict(
        self,
        project: str | ProjectSources,
        *,
        data_roots: Sequence[str | os.PathLike[str]] = (),
        origins: Sequence[str] = (),
        buckets: Sequence[str] = (),
    ) -> ProjectSources:
        """Replaces what the jobs of the project may read. Omitted kinds are not allowed at all. Creates the project if
        it does not exist. Raises NotAllowed for keys of other projects than `default`.

        Each source must be among those of the service's settings; a folder may be inside one of them.

        >>> restricted = client.projects.restrict("vision", data_roots=["/data/vision"])
        >>> restricted.data_roots, restricted.buckets
        (('/data/vision',), ())
        """
        body = {
            "data_roots": [os.fspath(root) for root in items(data_roots)],
            "origins": items(origins),
            "buckets": items(buckets),
        }
        response = self._transport.request("PUT", _path(project), body=body)
        return read(ProjectSources, response)

    def unrestrict(self, project: str | ProjectSources) -> None:
        """Allows the jobs of the project all sources of the service. Raises NotFound if it does not exist.

        >>> client.projects.restrict("vision")
        ProjectSources(project='vision', restricted=True, data_roots=(), origins=(), buckets=())
        >>> client.projects.unrestrict("vision")
        """
        self._transport.request("DELETE", _path(project))


def _path(project: str | ProjectSources) -> str:
    return f"/projects/{segment(project_name(project))}/sources"
