"""What routes are handed, each only the little that it needs; and who may call them.

A route says in one word what a key must be allowed: `@router.get(..., dependencies=READ)`. It is
asked before the body is read, as long as no route lets the framework read its body.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, cast

from fastapi import Depends, Header, Request
from fastapi.security import HTTPBearer
from starlette.requests import HTTPConnection

from learndrop.errors import RoleNeeded
from learndrop.stream.contract import Publisher
from service.auth import Caller
from service.envelope import request_id
from service.parts import Parts
from service.queries import check_query

Change = Callable[[], Awaitable[dict[str, Any]]]
"""Something that is done; its answer as JSON values."""


def parts_of(request: Request) -> Parts:
    """What the application consists of that got the request."""
    return cast(Parts, request.app.state.parts)


def caller_of(request: Request) -> Caller:
    """Who sent the request, as the route's word (INGEST, READ, ...) found out."""
    return cast(Caller, request.state.caller)


# These are `async` although they wait for nothing: FastAPI would run each in a thread otherwise.
async def parts(request: Request) -> Parts:
    """What the application consists of that got the request."""
    return parts_of(request)


InParts = Annotated[Parts, Depends(parts)]


async def publisher(wired: InParts) -> Publisher:
    """The ingress's side of the stream: it cannot even see `ack`."""
    return wired.publisher


async def caller(request: Request) -> Caller:
    """Who sent the request, as the route's word (INGEST, READ, ...) found out."""
    return caller_of(request)


Asking = Annotated[Caller, Depends(caller)]


BatchKey = Annotated[
    str,
    Header(
        alias="Idempotency-Key",
        max_length=255,
        pattern=r"^[\x21-\x7e]*$",
        description="The sender's own name of this request, so that sending it again is safe.",
    ),
]


async def repeating(
    request: Request, wired: InParts, asking: Asking, batch_key: BatchKey = ""
) -> Callable[[Change], Awaitable[dict[str, Any]]]:
    """Makes a change once, however often it is asked for under the same Idempotency-Key."""
    content = f"{request.method} {request.url.path}?{request.url.query}"

    async def once(change: Change) -> dict[str, Any]:
        return await wired.repeats.once(asking.name, batch_key, content, change)

    return once


Repeating = Annotated[Callable[[Change], Awaitable[dict[str, Any]]], Depends(repeating)]
ToPublisher = Annotated[Publisher, Depends(publisher)]


class _Admission(HTTPBearer):
    """Lets a request in if its key may do what `role` may; to OpenAPI, how a key is sent.

    One dependency for both: each costs every request a tenth of a millisecond.
    """

    def __init__(self, role: str) -> None:
        super().__init__(
            scheme_name="HTTPBearer",
            description="An API key: `learndrop keys create`.",
            auto_error=False,
        )
        self._role = role

    async def __call__(self, request: HTTPConnection) -> None:
        """Ask the gate.

        Raises:
            KeyNeeded, RoleNeeded, ForeignPage, RateLimited: it may not.
            BadParameter: it names a parameter that the route does not have.
        """
        assert isinstance(request, Request)  # the base class's word is a wider one
        wired, role = parts_of(request), self._role
        asking = wired.gate.identify(request.headers, role)
        request.state.caller = asking
        request.state.headers, refusal = wired.rates.hit(asking)
        if refusal:
            raise refusal
        if role == "admin":
            await _write_down(request, wired, asking)
        if not asking.may(role):
            told = f"the key {asking.name!r} may not do this; the role {role!r} is needed"
            raise RoleNeeded(told, role=role)
        known = request.scope["route"].dependant.query_params
        check_query(request, [parameter.alias for parameter in known])


async def _write_down(request: Request, wired: Parts, asking: Caller) -> None:
    """What an admin is about to do, or what somebody who is none tries to."""
    await wired.key_watch.tell()
    if request.method not in _READING:
        await wired.audit.add(
            f"{request.method} {request.url.path}",
            key=asking.name,
            allowed=asking.may("admin"),
            query=request.url.query[:MOST_QUERY],
            request_id=request_id(request.scope),
        )


MOST_QUERY = 500
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
IN_A_HEADER = {
    "type": "apiKey",
    "in": "header",
    "name": "X-API-Key",
    "description": "The same.",
}
"""The other way to send a key, for OpenAPI."""

ANY, INGEST, PREDICT, READ, ADMIN = (
    [Depends(_Admission(role))] for role in ("", "ingest", "predict", "read", "admin")
)
OPEN: list[Any] = []
"""No key: probes, metrics, and what explains the service."""
