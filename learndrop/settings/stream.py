"""Settings of the stream."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from learndrop.settings.group import MIB, Group


class StreamSettings(Group):
    """What may wait, what is remembered, what is kept of what ended."""

    max_pending: int = Field(50_000, ge=1)
    """Accepted samples that may wait to be learned before the service answers 429."""
    max_pending_bytes: int = Field(512 * MIB, ge=1024)
    """Bytes of pixels that may wait to be learned before the service answers 429."""
    full_memory_s: float = Field(0.5, ge=0, le=10)
    """While the stream is full: age of a look at it by which batches that do not fit are refused
    without asking Redis; 0 always asks."""
    key_share: float = Field(0.9, gt=0, le=1)
    """Share of the waiting samples, and of `max_bodies_bytes`, that one API key may hold alone;
    several have equal parts."""
    idempotency_ttl_s: float = Field(86_400.0, ge=1)
    """How long a batch with an Idempotency-Key is remembered: it is not taken again."""
    idempotency_kept: int = Field(50_000, ge=1)
    """Most batches that are remembered so; the oldest of the sender that has most go first."""
    sample_ids_kept: int = Field(100_000, ge=1)
    """Most `ids` of senders that are known again: such a sample is not taken again. The oldest of
    the sender that has most go first."""
    max_deliveries: int = Field(3, ge=1, le=100)
    """Times an entry may be in hand when the worker dies before it is buried."""
    dead_letters_kept: int = Field(1000, ge=1, le=1_000_000)
    """Buried entries kept for inspection; the oldest go first (they stay counted)."""
    dead_letters_ttl_s: float = Field(30 * 24 * 3600.0, gt=0)
    """Longest time that a buried entry is kept (it stays counted)."""
    fsync: Literal["always", "everysec", "no"] = "always"
    """What Redis must have as appendfsync for samples to be taken; `everysec` may lose a second of
    accepted samples, `no` insists on nothing and may lose all of them."""
    redis_memory_bytes: int = Field(2048 * MIB, ge=16 * MIB)
    """Memory limit that `make up` and docker-compose.yml give to Redis."""
    memory_near: float = Field(0.85, gt=0, lt=1)
    """Share of its memory limit from which on Redis counts as nearly full."""
    fates_kept: int = Field(1_000_000, ge=1, le=1_000_000_000)
    """Ended samples whose fate can be asked for by id (19 bytes of Redis each); the oldest go."""
    events_kept: int = Field(500, ge=10, le=10_000)
    """Events (drop, drift, reset, publish, ...) kept for the state."""
