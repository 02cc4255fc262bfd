"""Where a request comes from, for the audit log."""

from dataclasses import dataclass

from starlette.requests import Request

from ttm_jobs.database.audit import Author


@dataclass(frozen=True)
class RequestOrigin:
    """A request's id and the client's address."""

    request_id: str
    address: str | None

    @classmethod
    def of(cls, request: Request) -> "RequestOrigin":
        """The origin of a request."""
        return cls(request.state.request_id, None if request.client is None else request.client.host)

    def author(
        self,
        action: str,
        *,
        object: str | None = None,
        key_id: str | None = None,
        user_id: str | None = None,
        actor: str | None = None,
    ) -> Author:
        """The author of changes that this request makes."""
        return Author(action, object, self.request_id, key_id, user_id, actor, self.address)
