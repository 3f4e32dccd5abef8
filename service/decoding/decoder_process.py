"""One decoder's process as the service has it: started, asked, watched, ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, cast, get_args

from learndrop.errors import DecoderEnded
from learndrop.images.pictures import Pixels
from service.decoding.wire import (
    ANSWER_BYTES,
    PIXELS,
    READY,
    REFUSAL,
    Ask,
    Head,
    error_of,
    pixels_of,
)

MODULE = "service.decoding.decoder"
START_S = 60.0
"""A process that has not said within this long that it is there is ended."""
GRACE_S = 0.25
LOOK_EVERY_S = 0.005
SOCKET_BYTES = 2**20
"""What the system may keep of an ask or an answer; it takes less where it allows less."""
MOST_SAID = 4000

Why = Literal["time", "crash", "start", "stop"]
"""Why one ended: native code that did not come back in time, by itself, before it was ready, or
because the service stops."""
WHY_ENDED: tuple[Why, ...] = get_args(Why)[:3]

_KEPT = (
    "PYTHONHOME",
    "PYTHONNOUSERSITE",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "DYLD_FALLBACK_LIBRARY_PATH",
)


def environment() -> dict[str, str]:
    """The variables that a decoder has: where its code is, one thread, and no secret."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    found = [os.path.abspath(place) for place in sys.path]
    one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return kept | one_thread | {"PYTHONPATH": os.pathsep.join(found)}


@dataclass(frozen=True, slots=True)
class Done:
    """An answer: the pictures, and the seconds that they took."""

    pixels: list[Pixels]
    spent_s: float


@dataclass(frozen=True, slots=True)
class _Piece:
    ask: Ask
    done: asyncio.Future[Done]
    began_s: float

    @property
    def spent_s(self) -> float:
        return asyncio.get_running_loop().time() - self.began_s


class Decoder(asyncio.BufferedProtocol):
    """A process that is asked one thing at a time.

    Args:
        memory_bytes: what it may take.
        filtered: whether it keeps only the system calls that it needs, where that can be.
        changed: called when it is ready, and when it has ended.

    Attributes:
        why: why it ended; None while it runs.
        gone: set when it has ended.
    """

    def __init__(self, memory_bytes: int, filtered: bool, changed: Callable[[], None]) -> None:
        self._arguments = str(memory_bytes), str(int(filtered))
        self._changed = changed
        self._process: subprocess.Popen[bytes] | None = None
        self._transport: asyncio.WriteTransport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._words = -1
        self._ready = False
        self._piece: _Piece | None = None
        self._head: Head | None = None
        self._expect(ANSWER_BYTES)
        self.why: Why | None = None
        self.gone = asyncio.Event()

    async def start(self) -> None:
        """Start the process; it says by itself when it is ready.

        Raises:
            OSError: if the system has no process or no file to give.
        """
        self._words, words = os.pipe()
        try:
            ours, theirs = socket.socketpair()
        except OSError:
            os.close(words)
            raise
        try:
            for one in (ours, theirs):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BYTES)
            for end in (self._words, words):
                os.set_blocking(end, False)  # one that has much to complain of must not wait for us
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-P", "-B", "-W", "ignore", "-m", MODULE),
                    *(str(theirs.fileno()), *self._arguments),
                ],
                env=environment(),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=words,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,  # Ctrl-C is for the service
            )
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
            os.close(words)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(START_S, self.end, "start")
        await loop.create_unix_connection(lambda: self, sock=ours)

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    @property
    def ready(self) -> bool:
        """Whether the process takes asks."""
        return self._ready and self.why is None

    @property
    def working(self) -> bool:
        """Whether it has one that it has not answered."""
        return self._piece is not None

    async def ask(self, ask: Ask) -> Done:
        """Have pictures decoded, as many as a turn is enough for.

        Whoever stops waiting leaves it at work: it is free when it has answered.

        Raises:
            BadPicture, TooLong: as it says.
            DecoderEnded: if it ended before it answered.
        """
        assert self._transport is not None and self._piece is None
        loop = asyncio.get_running_loop()
        piece = self._piece = _Piece(ask, loop.create_future(), loop.time())
        self._transport.writelines(ask.parts())
        self._timer = loop.call_later(max(0.0, ask.left_s) + GRACE_S, self._look_again)
        return await piece.done

    def end(self, why: Why) -> None:
        """Kill it, and tell who waits for its answer."""
        if self.why is not None:
            return
        self.why = why
        self._stop_timer()
        if self._process is not None:
            self._process.kill()
        if self._transport is not None:
            self._transport.abort()
        if self._piece is not None:
            done, spent_s = self._piece.done, self._piece.spent_s
            self._piece = None
            if not done.done():
                done.set_exception(DecoderEnded(why, spent_s))
        self.gone.set()
        self._changed()

    async def bury(self) -> tuple[int | None, str]:
        """Wait until the process is no more; its exit code and its last words."""
        code, said = None, b""
        try:
            # It is killed, so this is short; and where no process is to be had, neither is a thread
            # that waits for it.
            while self._process is not None and self._process.poll() is None:
                await asyncio.sleep(LOOK_EVERY_S)
        finally:
            if self._process is not None:
                code = self._process.wait()  # also where the service stops meanwhile
            if self._words >= 0:
                with contextlib.suppress(BlockingIOError):
                    said = os.read(self._words, 65536)
                os.close(self._words)
        return code, said.decode("utf-8", "replace")[-MOST_SAID:].strip()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's is no subclass

    def connection_lost(self, exc: Exception | None) -> None:
        self.end("crash" if self._ready else "start")

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._into[self._got :]

    def buffer_updated(self, nbytes: int) -> None:
        self._got += nbytes
        if self.why is not None or self._got < len(self._into):
            return
        head, payload = self._head, self._payload
        if head is None:
            head = self._head = Head.of(payload)
            if not head.answers(self._piece.ask if self._piece and self._ready else None):
                self.end("crash")
                return
            if head.length:
                self._expect(head.length)
                return
        self._head = None
        self._expect(ANSWER_BYTES)
        if head.kind == READY:
            self._stop_timer()
            self._ready = True
            self._changed()
        else:
            self._give(head, payload)

    def _give(self, head: Head, payload: bytearray) -> None:
        """Hand a whole answer to who asked, unless nobody waits any more."""
        assert self._piece is not None
        done, size = self._piece.done, self._piece.ask.shape.size
        try:
            result = pixels_of(payload, head.count, size) if head.kind == PIXELS else None
            error = error_of(payload) if head.kind == REFUSAL else None
        except ValueError:
            self.end("crash")
            return
        self._stop_timer()
        self._piece = None
        if not done.done():
            if error is not None:
                done.set_exception(error)
            elif result is not None:
                done.set_result(Done(result, head.spent_s))
        self._changed()

    def _expect(self, length: int) -> None:
        self._payload = bytearray(length)
        self._into, self._got = memoryview(self._payload), 0

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_again(self) -> None:
        """A service that was held up itself reads first what has come meanwhile."""
        self._timer = asyncio.get_running_loop().call_later(GRACE_S, self.end, "time")
