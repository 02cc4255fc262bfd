"""The audit log."""

from collections.abc import AsyncIterator
from datetime import datetime

from ttm_client.asynchronous.paging import pages
from ttm_client.asynchronous.transport import AsyncTransport
from ttm_client.models.base import ApiModel
from ttm_client.models.resources import AuditEntry
from ttm_client.options import as_time
from ttm_client.protocol import Params


class AsyncAudit:
    """Lists who changed what.

    >>> job = await client.jobs.update(done.id, tags=["night"])
    >>> [entry.action async for entry in client.audit.list(object=done.id)][0]
    'jobs_update'
    """

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def list(
        self,
        *,
        actor: str | None = None,
        action: str | None = None,
        object: str | ApiModel | None = None,
        after: datetime | str | None = None,
        before: datetime | str | None = None,
    ) -> AsyncIterator[AuditEntry]:
        """Yields the changes, newest first. `actor` is the id or name of an API key, `object` an id or a response
        that has one; times need a time zone. Pages are requested as needed. Requires an API key with scope `admin`.

        >>> job = await client.jobs.update(done.id, tags=["night"])
        >>> [entry.object == done.id async for entry in client.audit.list(action="jobs_update")][0]
        True
        """
        filters: Params = {
            "actor": actor,
            "action": action,
            "object": None if object is None else str(getattr(object, "id", object)),
            "after": None if after is None else as_time(after),
            "before": None if before is None else as_time(before),
            "limit": 200,
        }
        async for item in pages(self._transport, AuditEntry, "/audit", filters):
            yield item
