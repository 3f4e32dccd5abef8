"""Ports of this machine: a free one, and a clear error for one that is taken."""

from __future__ import annotations

import socket

from learndrop.errors import DidNotStart

HOST = "127.0.0.1"


def free_port() -> int:
    """Ask the kernel for a port of 127.0.0.1 that nobody listens on right now."""
    with socket.socket() as s:
        s.bind((HOST, 0))
        return int(s.getsockname()[1])


def refuse_busy_port(port: int, whose: str, host: str = HOST) -> None:
    """Raise DidNotStart, naming the port and whose it should be, when it cannot be taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind((host, port))
        except OSError as exc:
            raise DidNotStart(f"port {port} for {whose} cannot be used: {exc.strerror}") from exc
