"""`python -m tests.soak.crowd PORT COUNT`: that many slow clients and as many idle ones.

A slow one sends a byte a second of a body, an idle one nothing. Prints, when all of them were
closed by the other side, how many seconds each was let be.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

HEAD = b"POST /v1/samples HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-npz\r\n"


async def until_closed(port: int, first: bytes, drip: bytes) -> float:
    """Connect, send `first`, then a byte a second; seconds until the other side closed."""
    began = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    closed = asyncio.create_task(reader.read())
    try:
        writer.write(first)
        while not closed.done():
            if drip and not writer.is_closing():
                writer.write(drip)
            await asyncio.wait({closed}, timeout=1.0)
        try:
            await closed
        except OSError:
            pass  # reset: closed all the same
        return time.monotonic() - began
    finally:
        writer.close()


async def crowd(port: int, count: int) -> dict[str, list[float]]:
    """All of them at once."""
    body = HEAD + b"content-length: 100000\r\n\r\n"
    slow = [until_closed(port, body, b"x") for _ in range(count)]
    idle = [until_closed(port, b"", b"") for _ in range(count)]
    waits = await asyncio.gather(*slow, *idle)
    return {"slow": waits[:count], "idle": waits[count:]}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(crowd(int(sys.argv[1]), int(sys.argv[2])))))
