"""A request body from the wire into memory: counted, timed, and never more than is allowed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NoReturn

from starlette.requests import ClientDisconnect, Request

from learndrop.errors import BadBody, Busy, TooLarge, TooSlow, UnknownFormat
from learndrop.settings import Settings


class Bodies:
    """Reads bodies; all that are held at one moment stay within `max_bodies_bytes`."""

    def __init__(self, settings: Settings) -> None:
        self._most = settings.max_body_bytes
        self._most_together = settings.max_bodies_bytes
        self._timeout_s = settings.body_timeout_s
        self.held_bytes = 0

    @asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[bytearray]:
        """Read the whole body; its bytes count as held until the block ends.

        Raises:
            TooLarge: by the declared length before a byte is read, or by the counted bytes.
            TooSlow: after `body_timeout_s`.
            UnknownFormat: if the body is compressed as a whole.
            Busy: if too many bodies are held already.
            BadBody: if the client went away, or the body is empty.
        """
        coding = request.headers.get("content-encoding", "identity")
        if coding.lower() != "identity":
            raise UnknownFormat(
                f"a body is taken as it is, not with Content-Encoding {coding!r}",
                item="Content-Encoding",
                limit=["identity"],
                value=coding,
            )
        body = bytearray()
        try:
            await self._fill_in_time(body, request)
            yield body
        finally:
            self.held_bytes -= len(body)

    async def _fill_in_time(self, body: bytearray, request: Request) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._fill(body, request)
        except TimeoutError as exc:
            raise TooSlow(
                f"{len(body)} bytes of the body had arrived after {self._timeout_s:g} s",
                item="body",
                limit=self._timeout_s,
                value=len(body),
            ) from exc

    async def _fill(self, body: bytearray, request: Request) -> None:
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > self._most:
            self._refuse_size(int(declared), "declares")
        try:
            async for chunk in request.stream():
                self._hold(body, chunk)
                if len(body) > self._most:
                    self._refuse_size(len(body), "has at least")
        except ClientDisconnect as exc:
            raise BadBody("the connection ended before the body did", item="body") from exc
        if not body:
            raise BadBody("the request has no body", item="body", value=0)

    def _hold(self, body: bytearray, chunk: bytes) -> None:
        if self.held_bytes + len(chunk) > self._most_together:
            raise Busy(
                "too many bodies are being read",
                limit=self._most_together,
                value=self.held_bytes + len(chunk),
            )
        self.held_bytes += len(chunk)
        body += chunk

    def _refuse_size(self, value: int, verb: str) -> NoReturn:
        raise TooLarge(
            f"the body {verb} {value} bytes, the limit is {self._most}",
            item="body",
            limit=self._most,
            value=value,
        )
