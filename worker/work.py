"""Builds the worker's parts from the settings, and learns or stands by until told to stop."""

from __future__ import annotations

import time
from importlib.metadata import version
from pathlib import Path

import structlog
import torch
from prometheus_client import CollectorRegistry

from learndrop.collector import spare_what_is_there
from learndrop.disk.archive import Archive
from learndrop.disk.registry import Registry
from learndrop.learning import checkpoint
from learndrop.learning.forgetting import Forgetting
from learndrop.learning.keeper import Keeper
from learndrop.server.board import WorkerBoard
from learndrop.settings import Settings
from learndrop.stream.consumer import RedisConsumer
from learndrop.upkeep.forget_requests import ForgetRequests
from worker.cores import usable_cores
from worker.erasing import Erasing
from worker.health import answering
from worker.leading import Reign, lead
from worker.loop import run
from worker.metrics import WorkerMetrics
from worker.parts import Parts
from worker.restorer import Restorer
from worker.stop import Stop
from worker.watchdog import watched

log = structlog.get_logger()


def work(settings: Settings, stop: Stop) -> None:
    """Wire the parts; stand by or learn until told to stop."""
    metrics = WorkerMetrics(CollectorRegistry(), version=version("learndrop"))
    ending = watched(metrics, 2 * settings.stall_s)  # probes of /healthz come first
    with answering(settings, metrics) as port, ending:
        threads = settings.worker_threads or usable_cores()
        torch.set_num_threads(threads)
        restorer = Restorer(settings)
        learner, position, _ = restorer.restored()
        log.info(
            "worker_started",
            metrics_port=port,
            threads=threads,
            network=settings.network,
            samples_learned=learner.state()["samples_learned"],
            position=position,
        )

        def learn(under: Reign) -> None:
            learner, position, older = restorer.taken()
            stream = RedisConsumer(settings, under.token, under.folder)
            board = WorkerBoard(settings, under.token)
            asks = ForgetRequests(settings, under.token)
            folder, kept = settings.checkpoints_dir, settings.checkpoints_kept

            def save(position: str) -> Path:
                return checkpoint.save(learner, folder, position, kept, sealing=under.sealing())

            registry = Registry(settings.models_dir, settings.versions_kept, under.sealing)
            keeper = Keeper(learner, registry)
            archive = Archive(settings.archive_dir, settings.archive_bytes, under.sealing)
            try:
                archive.trim()  # the budget may be another one since
            except OSError as exc:
                log.error("archive_not_trimmed", error=str(exc))
            held = Forgetting(learner)
            parts = Parts(
                settings,
                stream,
                learner,
                registry,
                board,
                metrics,
                save,
                archive,
                keeper.before_publish,
                keeper.before_checkpoint,
                older,
                under.confirm,
                Erasing(settings, held, archive, asks, metrics, time.time, under.sealing),
            )
            spare_what_is_there()
            try:
                run(parts, position, stopping=stop)
            finally:
                stream.close()
                board.close()
                asks.close()

        lead(settings, learn, metrics, stopping=stop)
