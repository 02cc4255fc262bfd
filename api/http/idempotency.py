"""POSTs that may be sent again: a request that names itself by `Idempotency-Key` is done once."""

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
        description="Any name of this request. Sent again within a day, it gets the same answer and does nothing.",
    ),
]


@dataclass(frozen=True)
class Once:
    """How one request is answered once."""

    key: str | None
    target: str

    def answer(
        self,
        engine: Engine,
        body: BaseModel | None,
        create: Callable[[Any], BaseModel],
        location: Callable[[Any], str],
    ) -> Response:
        """201 with what `create`, given the session, made, at `location`; or what an earlier request of the same key
        was answered. A refusal is not kept: nothing was done.

        IdempotencyKeyReused, RequestInFlight, and what `create` raises.
        """
        request = sha256(f"POST {self.target}\n{_canonical(body)}".encode()).hexdigest()
        with session_scope(engine) as session:
            before = None if self.key is None else idempotency.find(session, self.key, request)
            if before is not None:
                return _response(before, replayed=True)
            made = create(session)
            answer = StoredResponse(201, location(made), made.model_dump_json().encode())
            if self.key is not None:
                idempotency.record(session, self.key, request, answer)
        return _response(answer)


async def _once(request: Request, key: _Key = None) -> Once:
    return Once(key, request.url.path)


OnceDep = Annotated[Once, Depends(_once)]


def located(what: str) -> dict[int | str, dict[str, Any]]:
    """What the document says of an answer to `Once`: where `what` is."""
    return {201: {"headers": {"Location": {"description": f"Path of {what}.", "schema": {"type": "string"}}}}}


def _canonical(body: BaseModel | None) -> str:
    # As it was understood, so that spaces and the order of fields make no other request of it.
    return "" if body is None else json.dumps(body.model_dump(mode="json"), sort_keys=True)


def _response(answer: StoredResponse, *, replayed: bool = False) -> Response:
    headers = {"Location": answer.location} if answer.location is not None else {}
    if replayed:
        headers["Idempotent-Replayed"] = "true"
    return Response(answer.body, answer.status, headers, media_type="application/json")
