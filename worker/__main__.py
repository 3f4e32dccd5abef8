"""`python -m worker`: builds everything from the settings and runs the loop."""

from __future__ import annotations

import sys
from importlib.metadata import version

import structlog
import torch
from prometheus_client import CollectorRegistry

from learndrop import checkpoint, logs
from learndrop.archive import Archive
from learndrop.board import WorkerBoard
from learndrop.consumer import RedisConsumer
from learndrop.errors import BadSettings, LearndropError
from learndrop.keeping import Keeper
from learndrop.learner import Learner
from learndrop.registry import Registry
from learndrop.settings import Settings, load_settings
from learndrop.stream import START
from worker.cores import usable_cores
from worker.health import answering
from worker.lock import only_worker
from worker.loop import run
from worker.metrics import WorkerMetrics
from worker.parts import Parts
from worker.stop import Stop
from worker.watchdog import watched

log = structlog.get_logger()


def main() -> int:
    """Run the worker; 0 after a clean end, 1 after an error, 2 for bad settings."""
    stop = Stop()
    try:
        settings = load_settings()
    except BadSettings as exc:
        print(exc, file=sys.stderr)
        return 2
    logs.set_up(settings, "worker")
    try:
        work(settings, stop)
    except LearndropError as exc:
        log.error("worker_ended", error=str(exc), kind=type(exc).__name__)
        return 1
    except Exception:
        log.exception("worker_ended")
        return 1
    log.info("worker_stopped")
    return 0


def work(settings: Settings, stop: Stop) -> None:
    """Wire the parts and learn until told to stop."""
    metrics = WorkerMetrics(CollectorRegistry(), version=version("learndrop"))
    ending = watched(metrics, 2 * settings.stall_s)  # probes of /healthz come first
    with only_worker(settings.data_dir), answering(settings, metrics) as port, ending:
        threads = settings.worker_threads or usable_cores()
        torch.set_num_threads(threads)
        learner, position = restored(settings)
        log.info(
            "worker_started",
            metrics_port=port,
            threads=threads,
            network=settings.network,
            samples_learned=learner.state()["samples_learned"],
            position=position,
        )
        stream, board = RedisConsumer(settings), WorkerBoard(settings)

        def save(position: str) -> None:
            checkpoint.save(learner, settings.checkpoints_dir, position, settings.checkpoints_kept)

        registry = Registry(settings.models_dir, keep=settings.versions_kept)
        keeper = Keeper(learner, registry)
        parts = Parts(
            settings,
            stream,
            learner,
            registry,
            board,
            metrics,
            save,
            Archive(settings.archive_dir, settings.archive_bytes),
            keeper.before_publish,
            keeper.before_checkpoint,
        )
        try:
            run(parts, position, stopping=stop)
        finally:
            stream.close()
            board.close()


def restored(settings: Settings) -> tuple[Learner, str]:
    """The learner of the last checkpoint and its position, or a fresh one."""
    found = checkpoint.load_latest(settings.checkpoints_dir, settings)
    return found or (Learner(settings), START)


if __name__ == "__main__":
    sys.exit(main())
