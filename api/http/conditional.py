"""Polls that cost little: an answer has an ETag, and one that the client has is answered with 304."""

from typing import Annotated

from fastapi import Header
from starlette.responses import Response

IfNoneMatch = Annotated[
    str | None, Header(max_length=1024, description="ETag of the answer that the client has: 304 if it still holds.")
]


class NotModified(Exception):
    """The client has this answer."""

    def __init__(self, etag: str) -> None:
        super().__init__(etag)
        self.etag = etag


def check(condition: str | None, etag: str) -> None:
    """NotModified if the condition, an If-None-Match, names the ETag."""
    if names(condition or "", etag):
        raise NotModified(etag)


def names(condition: str, etag: str) -> bool:
    """Whether an If-None-Match names an ETag; it compares weakly, so that W/"x" and "x" are one."""
    tags = [tag.strip() for tag in condition.split(",")]
    return any(tag == "*" or tag.removeprefix("W/") == etag.removeprefix("W/") for tag in tags)


def not_modified(error: NotModified) -> Response:
    """The answer 304."""
    return Response(status_code=304, headers={"ETag": error.etag})
