"""`Idempotency-Key`: a POST that is sent again returns the first response and has no further effect."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Any

from fastapi import Depends, Header, Request
from pydantic import BaseModel
from sqlalchemy import Engine
from starlette.responses import Response

from ttm_jobs.database.engine import session_scope
from ttm_jobs.repositories.access import idempotency
from ttm_jobs.repositories.access.idempotency import StoredResponse

_Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="A unique string for this request, such as a UUID. The same request sent again with the same key "
        "within 24 hours returns the first response and has no further effect.",
    ),
]


@dataclass(frozen=True)
class IdempotentRequest:
    """A POST request with an optional idempotency key."""

    key: str | None
    path: str

    def respond(
        self,
        engine: Engine,
        body: BaseModel | None,
        create: Callable[[Any], BaseModel],
        location: Callable[[Any], str],
    ) -> Response:
        """201 with the result of `create(session)` and its `location`, or the stored response of an earlier request
        with the same key. Error responses are not stored.

        Raises IdempotencyKeyReused, RequestInFlight, and the errors of `create`.
        """
        request = sha256(f"POST {self.path}\n{_canonical(body)}".encode()).hexdigest()
        with session_scope(engine) as session:
            stored = None if self.key is None else idempotency.find(session, self.key, request)
            if stored is not None:
                return _response(stored, replayed=True)
            created = create(session)
            response = StoredResponse(201, location(created), created.model_dump_json())
            if self.key is not None:
                idempotency.record(session, self.key, request, response)
        return _response(response)


async def _idempotent_request(request: Request, key: _Key = None) -> IdempotentRequest:
    return IdempotentRequest(key, request.url.path)


IdempotencyDep = Annotated[IdempotentRequest, Depends(_idempotent_request)]


def location_header(what: str) -> dict[int | str, dict[str, Any]]:
    """The `responses` entry for the Location header of a created resource."""
    return {201: {"headers": {"Location": {"description": f"Path of {what}.", "schema": {"type": "string"}}}}}


def _canonical(body: BaseModel | None) -> str:
    # The parsed body, so that white space and the order of fields do not make a different request.
    return "" if body is None else json.dumps(body.model_dump(mode="json"), sort_keys=True)


def _response(stored: StoredResponse, *, replayed: bool = False) -> Response:
    headers = {"Location": stored.location} if stored.location is not None else {}
    if replayed:
        headers["Idempotent-Replayed"] = "true"
    return Response(stored.body, stored.status, headers, media_type="application/json")
