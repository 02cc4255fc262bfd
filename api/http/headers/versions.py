"""The version of the API and deprecated operations, in response headers."""

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

from fastapi import Depends, Request

API_VERSION = "0.1.0"
# Sent with every response.
VERSION_HEADER = {"TTM-Version": API_VERSION}


@dataclass(frozen=True)
class Deprecation:
    """The deprecation of an operation. Times are in UTC.

    Sent as `Deprecation` (RFC 9745), `Sunset` (RFC 8594) and a `Link` to the page that names the replacement.
    """

    since: datetime
    sunset: datetime
    page: str

    @property
    def headers(self) -> dict[str, str]:
        return {
            "Deprecation": f"@{int(self.since.timestamp())}",
            "Sunset": format_datetime(self.sunset.astimezone(UTC), usegmt=True),
            "Link": f'<{self.page}>; rel="deprecation"; type="text/html"',
        }


def deprecated(since: datetime, sunset: datetime, page: str) -> dict[str, Any]:
    """The arguments of a deprecated route: `@router.get("/old", **deprecated(...))`.

    Marks the operation in the OpenAPI document and adds the headers to all of its responses, errors included.
    """
    headers = Deprecation(since, sunset, page).headers

    async def announce(request: Request) -> None:
        # The response may be an object that the endpoint creates, so a middleware adds the headers.
        request.state.response_headers = headers

    return {"deprecated": True, "dependencies": [Depends(announce)]}
