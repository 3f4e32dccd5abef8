"""What every request gets, whatever its route: an id, a count, a line in the log, a clean end."""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid
from collections.abc import MutableMapping
from typing import Any

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.bodies.reading import answered
from service.metrics import ServiceMetrics

HEADER = "x-request-id"
DRAIN_S = 1.0
DRAIN_BYTES = 64 * 1024 * 1024
"""The rest of a refused body is read on and forgotten, this long and this far: a client that only
listens after it has sent everything then sees the answer and not a reset connection."""

_USABLE = re.compile(r"[A-Za-z0-9._-]{1,128}")
log = structlog.get_logger()


def request_id(scope: MutableMapping[str, Any]) -> str:
    """The id that `Envelope` gave a request."""
    return str(scope.get("state", {}).get("request_id", ""))


class Envelope:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, metrics: ServiceMetrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get(HEADER, "")
        own_id = given if _USABLE.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = own_id
        has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        began, status, body_ended = time.perf_counter(), 500, not has_body

        async def receive_and_see() -> Message:
            nonlocal body_ended
            message = await receive()
            body_ended = body_ended or not message.get("more_body", False)
            return message

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                answer = MutableHeaders(scope=message)
                answer[HEADER] = own_id
                for name, value in scope["state"].get("headers", {}).items():
                    answer[name] = value
                waits = headers.get("expect", "").lower() == "100-continue"
                if not body_ended and not waits and status != 408:  # its time is up already
                    await _drain(receive_and_see)
                if not body_ended:
                    answer["connection"] = "close"  # the rest might go on for ever
            await send(message)

        try:
            await self._app(scope, receive_and_see, send_with_id)
        finally:
            answered(scope)
            self._count(scope, status, time.perf_counter() - began, own_id)

    def _count(self, scope: Scope, status: int, seconds: float, own_id: str) -> None:
        # The route's pattern, never the path: a label must not grow with what clients ask for.
        route = getattr(scope.get("route"), "path", "unmatched")
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._metrics.requests.labels(route, method, str(status)).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        if status < 400 and not logging.getLogger().isEnabledFor(logging.DEBUG):
            return  # before the line is made
        say = log.debug if status < 400 else log.info
        say(
            "request",
            method=method,
            path=scope["path"],
            status=status,
            key=getattr(scope["state"].get("caller"), "name", None),
            seconds=round(seconds, 6),
            request_id=own_id,
        )


async def _drain(receive: Receive) -> None:
    drained = 0
    try:
        async with asyncio.timeout(DRAIN_S):
            while drained < DRAIN_BYTES:
                message = await receive()
                drained += len(message.get("body", b""))
                if not message.get("more_body", False):
                    return
    except TimeoutError:
        pass


_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
