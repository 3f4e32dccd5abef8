"""Sends requests that were made beforehand over several connections, as fast as answers come.

The sender must not be what is measured: bytes are made once, each connection is a thread that does
nothing but send and receive, and an answer is only looked at as far as its end and its success.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Answered = Callable[[bytes], bool]
"""Whether the bytes received so far are a whole answer.

Raises:
    ValueError: if they are a refusal.
"""


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests go, and what ends an answer."""

    host: str
    port: int
    answered: Answered


def blast(target: Target, requests: Sequence[bytes], times: int, connections: int) -> float:
    """Send `times` requests, the given ones in turn, `connections` at once; the seconds it took.

    Raises:
        ValueError: if an answer is a refusal.
        OSError: if a connection breaks.
    """
    begin = threading.Barrier(connections + 1)
    failures: list[Exception] = []

    def send(first: int) -> None:
        with socket.create_connection((target.host, target.port), timeout=60) as raw:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            begin.wait()
            try:
                for number in range(first, times, connections):
                    raw.sendall(requests[number % len(requests)])
                    _receive(raw, target.answered)
            except (OSError, ValueError) as exc:
                failures.append(exc)

    threads = [threading.Thread(target=send, args=(n,)) for n in range(connections)]
    for thread in threads:
        thread.start()
    begin.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - began
    if failures:
        raise failures[0]
    return seconds


def _receive(raw: socket.socket, answered: Answered) -> None:
    data = b""
    while not answered(data):
        chunk = raw.recv(65536)
        if not chunk:
            raise ValueError(f"the connection ended after {data[:200]!r}")
        data += chunk


def http_answered(data: bytes) -> bool:
    """A whole answer of HTTP that is a 202."""
    head, mark, body = data.partition(b"\r\n\r\n")
    if not mark:
        return False
    if not head.startswith(b"HTTP/1.1 202"):
        raise ValueError(f"refused: {data[:300]!r}")
    fields = head.lower().split(b"content-length: ")
    return len(fields) < 2 or len(body) >= int(fields[1].split(b"\r\n")[0])


def redis_answered(count: int) -> Answered:
    """`count` whole answers of Redis that are ids."""

    def answered(data: bytes) -> bool:
        if b"-ERR" in data or b"-OOM" in data or b"-MISCONF" in data:
            raise ValueError(f"refused: {data[:300]!r}")
        return data.count(b"\r\n") >= 2 * count

    return answered


def as_http(path: str, content_type: str, body: bytes) -> bytes:
    """A POST as it goes over the wire."""
    return (
        f"POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: {content_type}\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    ).encode() + body


def as_pipeline(key: str, entries: Sequence[dict[bytes, bytes]]) -> bytes:
    """One XADD for each entry, as they go over the wire together."""
    return b"".join(_command([b"XADD", key.encode(), b"*", *_flat(entry)]) for entry in entries)


def _flat(entry: dict[bytes, bytes]) -> list[bytes]:
    return [part for pair in entry.items() for part in pair]


def _command(parts: Sequence[bytes]) -> bytes:
    told = b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)
    return b"*%d\r\n" % len(parts) + told
