"""Saved views of the lists."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Literal
from urllib.parse import urlencode

from ttm_client.asynchronous.transport import AsyncTransport
from ttm_client.models.resources import View
from ttm_client.protocol import segment
from ttm_client.responses import read, read_items

ViewPage = Literal["jobs", "studies"]


class AsyncViews:
    """Saved filters of the jobs and studies lists, shared by a project and shown on the dashboard.

    >>> view = await client.views.save("jobs", "failed ones", {"state": "failed"})
    >>> [view.name async for view in client.views.list("jobs")]
    ['failed ones']
    """

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def list(self, page: ViewPage | None = None) -> AsyncIterator[View]:
        """Yields the project's views, or those of one list, by page and name.

        >>> view = await client.views.save("studies", "failed ones", {"state": "failed"})
        >>> [(view.page, view.href) async for view in client.views.list("studies")]
        [('studies', '/ui/studies?state=failed')]
        """
        params = {} if page is None else {"page": page}
        response = await self._transport.request("GET", "/views", params=params)
        for item in read_items(View, response):
            yield item

    async def save(self, page: ViewPage, name: str, query: Mapping[str, str | Sequence[str]]) -> View:
        """Saves the parameters of a list under a name. A view with the same name is changed.

        >>> view = await client.views.save("jobs", "tonight", {"state": ["queued", "running"], "tag": "night"})
        >>> view.query
        'state=queued&state=running&tag=night'
        """
        body = {"query": urlencode(query, doseq=True)}
        return read(View, await self._transport.request("PUT", _path(page, name), body=body))

    async def delete(self, page: ViewPage, name: str) -> None:
        """Deletes a view for everybody in the project. Raises NotFound if it does not exist.

        >>> view = await client.views.save("jobs", "tonight", {"tag": "night"})
        >>> await client.views.delete("jobs", "tonight")
        """
        await self._transport.request("DELETE", _path(page, name))


def _path(page: str, name: str) -> str:
    return f"/views/{segment(page)}/{segment(name)}"
