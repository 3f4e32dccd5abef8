"""Of several workers one leads; the others stand by, loaded, and take over when it dies."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from functools import partial

import structlog

from learndrop.errors import NotLeading, StreamAway
from learndrop.server.lease import Lease
from learndrop.settings import Settings
from worker.folder import Folder
from worker.metrics import WorkerMetrics

LOOKS = 10  # of a worker that stands by, in the time of one lease
LONGEST_PAUSE_S = 0.5

Sealing = Callable[[], AbstractContextManager[None]]
"""Around whatever makes a checkpoint or a version count: refused to a worker that leads no more."""

log = structlog.get_logger()


@dataclass(frozen=True)
class Reign:
    """What a worker that leads works under.

    Attributes:
        token: what its scripts show to Redis.
        sealing: see Sealing.
        confirm: raises NotLeading when the lease is known to be lost.
        folder: id of the data folder.
    """

    token: int
    sealing: Sealing
    confirm: Callable[[], None]
    folder: str


def lead(
    settings: Settings,
    work: Callable[[Reign], None],
    metrics: WorkerMetrics,
    *,
    stopping: Callable[[], bool],
) -> None:
    """Stand by, lead, and stand by again when another worker took over; until `stopping()`.

    Raises:
        DidNotStart: if the data folder cannot be written, or a worker of another stream has it.
        whatever `work` raises besides NotLeading.
    """
    with closing(Lease(settings)) as lease, closing(Folder(settings, lease.owner)) as folder:
        while stand_by(lease, folder, metrics, settings.lease_s, stopping=stopping):
            try:
                folder.enter(lease.token)
                metrics.leads(True)
                log.info("leading", token=lease.token)
                with lease.kept(lambda: (metrics.idle_s() or 0.0) < settings.stall_s):
                    sealing = partial(_sealing, lease, folder)
                    work(Reign(lease.token, sealing, lease.confirm, folder.id))
            except NotLeading as exc:
                log.warning("deposed", error=str(exc), token=lease.token)
            finally:
                metrics.leads(False)
                folder.leave()
                lease.release()


def stand_by(
    lease: Lease,
    folder: Folder,
    metrics: WorkerMetrics,
    lease_s: float,
    *,
    stopping: Callable[[], bool],
    pause: Callable[[float], None] = time.sleep,
) -> bool:
    """Wait until the lease is this worker's; False when it is told to stop before that."""
    told, away = "", False
    while not stopping():
        try:
            owner = lease.look(least=folder.newest())
            if owner is not None and folder.left_by(owner):
                owner = lease.look(least=folder.newest(), dead=True)
        except StreamAway as exc:
            if not away:
                log.warning("redis_away", error=str(exc))
            away = True
            metrics.alive(redis_up=False)
            pause(LONGEST_PAUSE_S)
            continue
        away = False
        metrics.alive(redis_up=True)
        if owner is None:
            return True
        if owner != told:
            log.info("standing_by", leader=owner)
            told = owner
        pause(min(LONGEST_PAUSE_S, lease_s / LOOKS))
    return False


@contextmanager
def _sealing(lease: Lease, folder: Folder) -> Iterator[None]:
    try:
        lease.renew()
    except StreamAway:
        pass  # without Redis nobody takes over; whoever did before has marked the folder
    with folder.leading():
        yield
