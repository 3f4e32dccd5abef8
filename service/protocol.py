"""uvicorn's HTTP protocol with promises more: nobody slow holds a connection for ever, there is a
bound to their number, and no error is plain text.

uvicorn's own `limit_concurrency` answers in plain text, probes too, and holds as many connections
as come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.problems import KINDS, problem

SPARE = 100
"""Connections above the bound that are answered with a refusal; more are closed at once."""
TICK_S = 0.001
"""uvloop counts whole milliseconds from the one that has begun: its timers may be that early."""
WHY_CLOSED = ("head", "answer", "crowded")
"""A head that did not come or end, an answer that was not taken, more connections than may be."""
Closed = Callable[[str], None]
_PROBES = ("/healthz", "/readyz", "/metrics")


class _Crowded:
    """The application on a connection above the bound."""

    def __init__(self, app: Any, most: int) -> None:
        self._app, self._most = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] in _PROBES:
            await self._app(scope, receive, send)
            return
        headers = {"retry-after": "1", "connection": "close"}
        told = f"{self._most} connections are open, and there may be no more"
        answer = problem(
            KINDS["busy"],
            told,
            scope["path"],
            headers=headers,
            item="connections",
            limit=self._most,
        )
        await answer(scope, receive, send)


class _Flow(FlowControl):
    """uvicorn's, but that an answer waits `send_s` at most until those before it are taken.

    What its request holds is held so long: a client that takes them drop by drop must not keep it.
    """

    def __init__(self, transport: asyncio.Transport, send_s: float, closed: Closed) -> None:
        super().__init__(transport)
        self._send_s, self._closed = send_s, closed

    async def drain(self) -> None:
        try:
            async with asyncio.timeout(self._send_s):
                await super().drain()
        except TimeoutError:
            if self._transport.get_write_buffer_size():  # else it was given up a moment ago
                self._closed("answer")
                self._transport.abort()
            await super().drain()  # until the loop has told the end, which ends all waiting


class Protocol(HttpToolsProtocol):
    """Closes connections whose head does not come or whose answer is not taken, answers broken
    heads with a problem, and refuses what comes on more than `most` connections.

    A request's head must be there `head_s` after its first byte, a first byte after connecting. Of
    an answer at least `send_bytes_s` must be taken in each second, looked at each `send_s`. Beside
    bodies `head_bytes` may come, and what is read from the socket at once. `closed` is told
    why a connection was closed, one of WHY_CLOSED.
    """

    head_s = 15.0
    head_bytes = 65536
    send_s = 30.0
    send_bytes_s = 4096.0
    most = 800
    closed: Closed = staticmethod(lambda why: None)
    _head_timer: asyncio.TimerHandle | None = None
    _send_timer: asyncio.TimerHandle | None = None
    _answers = 0
    _unended_bytes = 0

    @classmethod
    def within(cls, closed: Closed, **bounds: float) -> type[Protocol]:
        """The protocol with other bounds, by their names here: uvicorn takes a class."""
        return type("Protocol", (cls,), {"closed": staticmethod(closed), **bounds})

    def connection_made(self, transport: Any) -> None:
        """A connection begins."""
        super().connection_made(transport)
        self.flow = _Flow(transport, self.send_s, self.closed)
        over = len(self.connections) - self.most
        if over > SPARE:
            self.closed("crowded")
            transport.abort()
            return
        if over > 0:
            self.app = _Crowded(self.app, self.most)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """A connection ended."""
        self._stop_timer()
        if self._send_timer is not None:
            self._send_timer.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client does not take what is sent as fast as it is made."""
        super().pause_writing()
        self._watch_sending()

    def on_response_complete(self) -> None:
        """An answer is made, and perhaps not yet sent; a close would wait for that for ever."""
        self._answers += 1
        super().on_response_complete()
        self._watch_sending()

    def data_received(self, data: bytes) -> None:
        """Bytes came; those of a head or of what follows a chunked body are kept until it ends."""
        self._unended_bytes += len(data)
        super().data_received(data)
        if self._unended_bytes <= self.head_bytes or self.transport.is_closing():
            return
        self.closed("head")
        if self.cycle is None or self.cycle.response_complete:
            self.send_400_response(f"the head of the request has over {self.head_bytes} bytes")
        else:
            self.transport.abort()

    def on_body(self, body: bytes) -> None:
        """A piece of a body, which is counted where it is read."""
        self._unended_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The last byte of a request."""
        self._unended_bytes = 0
        super().on_message_complete()

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._unended_bytes = 0
        self._start_timer()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head is there; the body has a limit of its own (`body_timeout_s`)."""
        self._unended_bytes = 0
        self._stop_timer()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP request."""
        answer = problem(KINDS["bad-request"], msg, "")
        head = [b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n"]
        head += [name + b": " + value + b"\r\n" for name, value in answer.raw_headers]
        self.transport.write(b"".join([*head, b"\r\n", bytes(answer.body)]))
        self._watch_sending()
        self.transport.close()

    def _start_timer(self) -> None:
        self._stop_timer()
        self._head_timer = self.loop.call_later(self.head_s + TICK_S, self._give_up)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _watch_sending(self) -> None:
        if self._send_timer is None:
            seen = self.transport.get_write_buffer_size(), self._answers
            self._send_timer = self.loop.call_later(self.send_s, self._look_at_sending, *seen)

    def _look_at_sending(self, unsent: int, answers: int) -> None:
        self._send_timer = None
        left = self.transport.get_write_buffer_size()
        if left == 0:
            return
        if unsent - left >= self.send_bytes_s * self.send_s or answers != self._answers:
            self._watch_sending()
        else:
            if self.cycle is not None:
                # before it writes on: the loop tells it a turn later
                self.cycle.disconnected = True
            self.closed("answer")
            self.transport.abort()

    def _give_up(self) -> None:
        if not self.transport.is_closing():
            self.closed("head")
            self.transport.close()
