"""What the Redis server must be so that nothing accepted is lost: its settings and its memory."""

from __future__ import annotations

from dataclasses import dataclass

DURABLE = {
    "appendonly": ("yes", "a restart of the server loses every sample"),
    "appendfsync": ("always", "a killed server or machine loses the last accepted samples"),
    "no-appendfsync-on-rewrite": ("no", "samples accepted while its log is rewritten can be lost"),
    "maxmemory-policy": ("noeviction", "a full server may evict the whole stream"),
}
"""Options of the server: the value that is safe, and what any other one risks."""


@dataclass(frozen=True, slots=True)
class Memory:
    """The server's memory in bytes; a limit of 0 is none."""

    used_bytes: int
    limit_bytes: int

    def warnings(self, near: float) -> list[str]:
        """What to say of it, when `near` is the share of the limit that counts as nearly full.

        >>> Memory(90, 100).warnings(0.85)
        ['Redis uses 90 of its 100 bytes (maxmemory): at the limit nothing more is accepted']
        >>> Memory(80, 100).warnings(0.85), len(Memory(80, 0).warnings(0.85))
        ([], 1)
        """
        if not self.limit_bytes:
            return ["Redis has no maxmemory: it may grow until the machine ends it"]
        if self.used_bytes < near * self.limit_bytes:
            return []
        return [
            f"Redis uses {self.used_bytes} of its {self.limit_bytes} bytes (maxmemory):"
            " at the limit nothing more is accepted"
        ]
