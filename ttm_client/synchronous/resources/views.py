# From asynchronous/resources/views.py by `python -m ttm_client.codegen.make_synchronous`: edit that.
"""Saved views of the lists."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal
from urllib.parse import urlencode

from ttm_client.models.resources import View
from ttm_client.protocol import segment
from ttm_client.responses import read, read_items
from ttm_client.synchronous.transport import Transport

ViewPage = Literal["jobs", "studies"]


class Views:
    """Saved filters of the jobs and studies lists, shared by a project and shown on the dashboard.

    >>> view = client.views.save("jobs", "failed ones", {"state": "failed"})
    >>> [view.name for view in client.views.list("jobs")]
    ['failed ones']
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self, page: ViewPage | None = None) -> Iterator[View]:
        """Yields the project's views, or those of one list, by page and name.

        >>> view = client.views.save("studies", "failed ones", {"state": "failed"})
        >>> [(view.page, view.href) for view in client.views.list("studies")]
        [('studies', '/ui/studies?state=failed')]
        """
        params = {} if page is None else {"page": page}
        response = self._transport.request("GET", "/views", params=params)
        yield from read_items(View, response)

    def save(self, page: ViewPage, name: str, query: Mapping[str, str | Sequence[str]]) -> View:
        """Saves the parameters of a list under a name. A view with the same name is changed.

        >>> view = client.views.save("jobs", "tonight", {"state": ["queued", "running"], "tag": "night"})
        >>> view.query
        'state=queued&state=running&tag=night'
        """
        body = {"query": urlencode(query, doseq=True)}
        return read(View, self._transport.request("PUT", _path(page, name), body=body))

    def delete(self, page: ViewPage, name: str) -> None:
        """Deletes a view for everybody in the project. Raises NotFound if it does not exist.

        >>> view = client.views.save("jobs", "tonight", {"tag": "night"})
        >>> client.views.delete("jobs", "tonight")
        """
        self._transport.request("DELETE", _path(page, name))


def _path(page: str, name: str) -> str:
    return f"/views/{segment(page)}/{segment(name)}"
