"""uvicorn's HTTP protocol with two promises more: no silent slow heads, no plain-text errors."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.problems import KINDS, problem


class Protocol(HttpToolsProtocol):
    """Closes connections whose head does not come, and answers broken heads with a problem.

    A request's head must be there `head_s` after its first byte, a first byte after connecting.
    """

    head_s = 15.0
    _head_timer: asyncio.TimerHandle | None = None

    @classmethod
    def within(cls, head_s: float) -> type[Protocol]:
        """The protocol with another time for heads: uvicorn takes a class."""
        return type("Protocol", (cls,), {"head_s": head_s})

    def connection_made(self, transport: Any) -> None:
        """A connection begins."""
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """A connection ended."""
        self._stop_timer()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._start_timer()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head is there; the body has a limit of its own (`body_timeout_s`)."""
        self._stop_timer()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP request."""
        answer = problem(KINDS["bad-request"], msg, "")
        head = [b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n"]
        head += [name + b": " + value + b"\r\n" for name, value in answer.raw_headers]
        self.transport.write(b"".join([*head, b"\r\n", bytes(answer.body)]))
        self.transport.close()

    def _start_timer(self) -> None:
        self._stop_timer()
        self._head_timer = self.loop.call_later(self.head_s, self._give_up)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _give_up(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()
