"""A request body from the wire into memory: counted, timed, and never more than is allowed.

What a request holds counts until it is answered: pixels of an .npz are views of its body, and wait
with it for Redis and for the network.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import MutableMapping
from typing import Any, NoReturn

from starlette.requests import ClientDisconnect, Request

from learndrop.errors import BadBody, Busy, TooLarge, TooSlow, UnknownFormat
from learndrop.settings import Settings
from learndrop.stream.taking import share_factor

_HELD = "held"


class Held:
    """The bytes that one request of an API key holds; the key's name is empty where none came."""

    def __init__(self, bodies: Bodies, key: str) -> None:
        self._bodies, self._key, self.bytes = bodies, key, 0

    def take(self, more: int, *, alone: bool = False) -> None:
        """Count so many more; where `alone`, one request may pass the limit if no other holds any.

        Raises:
            Busy: if all requests together, or those of the key, would hold too many.
        """
        together = self._bodies.held_bytes + more
        others = self._bodies.held_bytes - self.bytes
        if together > self._bodies.most_together and (others or not alone):
            raise Busy("too many bodies are held", limit=self._bodies.most_together, value=together)
        self._check_share(more, together)
        self._count(more)

    def give_back(self, less: int) -> None:
        """Count so many fewer."""
        self._count(-less)

    def _check_share(self, more: int, together: int) -> None:
        """Several requests of a key hold a multiple of the room that is left, as on the stream."""
        factor, mine = self._bodies.share_factor, self._bodies.of_key[self._key]
        if not self._key or factor is None or mine == self.bytes:
            return
        allowed = int(factor * (self._bodies.most_together - together))
        if mine + more > allowed:
            told = f"requests of the key {self._key!r} hold its share of what bodies may take"
            raise Busy(told, limit=allowed, value=mine + more)

    def _count(self, more: int) -> None:
        self._bodies.held_bytes += more
        self._bodies.of_key[self._key] += more
        if not self._bodies.of_key[self._key]:
            del self._bodies.of_key[self._key]
        self.bytes += more


def answered(scope: MutableMapping[str, Any]) -> None:
    """What the request held is free."""
    held: Held | None = scope.get("state", {}).pop(_HELD, None)
    if held is not None:
        held.give_back(held.bytes)


class Bodies:
    """Reads bodies; what all requests hold at one moment stays within `max_bodies_bytes`."""

    def __init__(self, settings: Settings) -> None:
        self._most = settings.max_body_bytes
        self.most_together = settings.max_bodies_bytes
        self._timeout_s = settings.body_timeout_s
        self.held_bytes = 0
        self.of_key: Counter[str] = Counter()
        self.share_factor = share_factor(settings)

    async def read(self, request: Request) -> tuple[bytearray, Held]:
        """Read the whole body; its bytes count as held until the request is answered.

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
        state = request.scope.setdefault("state", {})
        body, held = bytearray(), Held(self, getattr(state.get("caller"), "name", ""))
        state[_HELD] = held
        await self._fill_in_time(body, held, request)
        return body, held

    async def _fill_in_time(self, body: bytearray, held: Held, request: Request) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._fill(body, held, request)
        except TimeoutError as exc:
            raise TooSlow(
                f"{len(body)} bytes of the body had arrived after {self._timeout_s:g} s",
                item="body",
                limit=self._timeout_s,
                value=len(body),
            ) from exc

    async def _fill(self, body: bytearray, held: Held, request: Request) -> None:
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > self._most:
            self._refuse_size(int(declared), "declares")
        try:
            async for chunk in request.stream():
                held.take(len(chunk))
                body += chunk
                if len(body) > self._most:
                    self._refuse_size(len(body), "has at least")
        except ClientDisconnect as exc:
            raise BadBody("the connection ended before the body did", item="body") from exc
        if not body:
            raise BadBody("the request has no body", item="body", value=0)

    def _refuse_size(self, value: int, verb: str) -> NoReturn:
        raise TooLarge(
            f"the body {verb} {value} bytes, the limit is {self._most}",
            item="body",
            limit=self._most,
            value=value,
        )
