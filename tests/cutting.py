"""A proxy on loopback that cuts connections at a random byte, in either direction; with TLS too."""

from __future__ import annotations

import asyncio
import random
import ssl
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

CHUNK = 65536


@dataclass
class Cuts:
    """What is cut, and what was.

    A connection is cut with this `chance`, after a number of bytes that is drawn below `request`
    on their way there, or below `answer` on their way back.
    """

    request: int
    answer: int
    chance: float
    seed: int = 0
    made: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def draw(self) -> tuple[str, int]:
        """Which way, and after how many bytes; -1 bytes for never."""
        if self._random.random() >= self.chance:
            return "request", -1
        way = self._random.choice(["request", "answer"])
        return way, self._random.randrange(self.request if way == "request" else self.answer)


class _Connection:
    def __init__(self, cuts: Cuts, *writers: asyncio.StreamWriter) -> None:
        self._cuts, self._writers = cuts, writers
        self._way, self._left = cuts.draw()

    async def pump(self, way: str, source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        """Hand on what comes, up to the byte at which this connection is cut."""
        with suppress(OSError):
            while data := await source.read(CHUNK):
                if way == self._way and 0 <= self._left <= len(data):
                    to.write(data[: self._left])
                    await to.drain()
                    self._cuts.made[way] += 1
                    for writer in self._writers:
                        writer.transport.abort()
                    return
                if way == self._way and self._left > 0:
                    self._left -= len(data)
                to.write(data)
                await to.drain()
        to.close()


@contextmanager
def cutting(port: int, cuts: Cuts, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """A port on loopback that leads to `port`, with cuts; it may ask for TLS and end it."""
    loop, started = asyncio.new_event_loop(), threading.Event()
    ports: list[int] = []
    running: set[asyncio.Task[None]] = set()

    async def hand_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        writers = [writer]
        try:
            there, back = await asyncio.open_connection("127.0.0.1", port)
            writers.append(back)
            connection = _Connection(cuts, *writers)
            await asyncio.gather(
                connection.pump("request", reader, back), connection.pump("answer", there, writer)
            )
        except OSError:
            pass
        finally:
            running.discard(task)
            for one in writers:
                one.transport.abort()
            # Gone before the loop is: else the writers complain when they are collected.
            closings = [one.wait_closed() for one in writers]
            await asyncio.gather(*closings, return_exceptions=True)

    async def serve(done: asyncio.Event) -> None:
        server = await asyncio.start_server(hand_on, "127.0.0.1", 0, ssl=tls)
        ports.append(server.sockets[0].getsockname()[1])
        started.set()
        await done.wait()
        server.close()
        for task in (left := list(running)):
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await server.wait_closed()

    done = asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(serve(done),))
    thread.start()
    try:
        assert started.wait(10)
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join(10)
        loop.close()
