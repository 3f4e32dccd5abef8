"""Settings of the worker."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from learndrop.settings.group import Group


class WorkerSettings(Group):
    """Its batches, its checkpoints, its published versions."""

    consumer: str = Field("worker-1", pattern=r"^[A-Za-z0-9._-]{1,64}$")
    """Stable name of the worker in the consumer group."""
    metrics_host: str = "127.0.0.1"
    """Address the worker's /metrics binds to."""
    metrics_port: int = Field(8001, ge=1, le=65535)
    """Port of the worker's /metrics and /healthz."""
    batch: int = Field(32, ge=1, le=4096)
    """Arriving samples in one training step."""
    batch_wait_s: float = Field(0.5, ge=0, le=60)
    """How long a batch may wait to fill before a smaller one is learned."""
    lease_s: float = Field(3.0, ge=0.3, le=600)
    """A worker that leads and is silent for this long is taken over by one that stands by."""
    on_gap: Literal["wait", "go_on"] = "wait"
    """When the stream lacks what the checkpoint has, or the checkpoint what was acknowledged."""
    stall_s: float = Field(120.0, gt=0)
    """Without progress of the worker for this long (a step that hangs), its /healthz says 503;
    after twice that it ends itself, to be started again."""
    worker_threads: int = Field(0, ge=0, le=256)
    """Compute threads of torch in the worker; 0 takes the cores this process may use."""
    checkpoint_s: float = Field(30.0, gt=0)
    """Seconds between checkpoints; entries are acknowledged after the checkpoint that has them."""
    checkpoints_kept: int = Field(2, ge=1, le=100)
    """Checkpoints kept on disk."""
    publish_s: float = Field(5.0, ge=0)
    """Shortest time between two published model versions (a drop or a reset does not wait). Where
    one costs more than a tenth of that, the worker waits for ten times its cost, at most 60 s."""
    versions_kept: int = Field(8, ge=2, le=1000)
    """Model versions kept on disk."""
    archive_bytes: int = Field(0, ge=0)
    """Bytes of learned samples kept for `learndrop replay`; the oldest go first, 0 keeps none."""
