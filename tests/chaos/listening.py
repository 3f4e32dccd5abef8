"""Which addresses a process and its children listen at, as the kernel tells it."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator
from pathlib import Path

LISTENS = "0A"


def family(pid: int) -> list[int]:
    """The process and all below it."""
    told = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(one for child in told for one in family(int(child)))]


def listening(pid: int) -> list[tuple[str, int]]:
    """Addresses and ports at which this one process takes TCP connections."""
    own = set(_sockets(pid))
    rows = [
        line.split()
        for name in ("tcp", "tcp6")
        for line in Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]
    ]
    return sorted(_read(row[1]) for row in rows if row[3] == LISTENS and row[9] in own)


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches it.

    >>> [is_loopback(a) for a in ("127.0.0.1", "::1", "::ffff:127.0.0.1", "0.0.0.0", "::")]
    [True, True, True, False, False]
    """
    found = ipaddress.ip_address(address)
    inner = getattr(found, "ipv4_mapped", None) or found
    return bool(inner.is_loopback)


def _sockets(pid: int) -> Iterator[str]:
    for file in Path(f"/proc/{pid}/fd").iterdir():
        try:
            leads_to = os.readlink(file)
        except OSError:  # closed meanwhile
            continue
        if leads_to.startswith("socket:["):
            yield leads_to[8:-1]


def _read(told: str) -> tuple[str, int]:
    """What /proc/net/tcp calls 0100007F:1F90: words in the machine's order of bytes."""
    address, _, port = told.partition(":")
    words = [bytes.fromhex(address[n : n + 8])[::-1] for n in range(0, len(address), 8)]
    return str(ipaddress.ip_address(b"".join(words))), int(port, 16)
