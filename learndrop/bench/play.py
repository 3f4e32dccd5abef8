"""Plays one stream through one strategy and measures."""

from __future__ import annotations

import os
import platform
import resource
import time
from dataclasses import dataclass
from typing import Any

import torch

from learndrop.bench.strategies import Strategy
from learndrop.bench.streams import Stream
from learndrop.learner import Learner
from learndrop.settings import Settings

CURVE = 512  # samples over which the curve's accuracy is taken


@dataclass(frozen=True)
class Moment:
    """One point of the curve."""

    samples: int
    accuracy: float
    depth: int
    train_s: float


def play(stream: Stream, strategy: Strategy, settings: Settings) -> dict[str, Any]:
    """One run, as the JSON that tables and plots are drawn from.

    Seconds are the learner's own accounts by part (wall clock); `accuracy` is prequential.
    """
    own = settings.model_copy(update=strategy.settings)
    learner = Learner(own)
    strategy.begin(learner)
    curve: list[Moment] = []
    events: list[dict[str, Any]] = []
    worlds: list[dict[str, Any]] = []
    right = seen = 0
    start, cpu = time.perf_counter(), time.process_time()
    for number, batch in enumerate(stream.batches(own.batch)):
        report = learner.learn(batch, train=strategy.trains(learner, number))
        events += [e.to_json() for e in report.events]
        right, seen = right + report.correct, seen + report.count
        if number % 4 == 3:
            curve.append(_moment(learner))
        if seen == stream.length:
            worlds.append(_world(stream, len(worlds), right, learner, worlds))
            right = seen = 0
    wall, cpu_s = time.perf_counter() - start, time.process_time() - cpu
    totals = learner.ledger.totals()
    return {
        "strategy": strategy.name,
        "network": own.network,
        "samples": learner.progress.samples,
        "accuracy": learner.progress.lifetime_accuracy,
        "worlds": worlds,
        "flops": totals,
        "seconds": {
            **learner.life.seconds,
            "wait": 0.0,  # a stored stream never lets the learner wait
            "other": wall - sum(learner.life.seconds.values()),
            "wall": wall,
            "cpu": cpu_s,
        },
        "depth": learner.trainer.cut,
        "units": len(learner.chain.units),
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "events": events,
        "curve": [vars(m) for m in curve],
        "seed": own.seed,
        "machine": machine(learner),
    }


def machine(learner: Learner) -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "processor": platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "device": str(learner.device),
        "precision": learner.precision.to_json(),
    }


def _moment(learner: Learner) -> Moment:
    return Moment(
        learner.progress.samples,
        learner.progress.newest_accuracy(CURVE),
        learner.trainer.cut,
        learner.life.seconds["train"] + learner.life.seconds["build"],
    )


def _world(
    stream: Stream, number: int, right: int, learner: Learner, before: list[dict[str, Any]]
) -> dict[str, Any]:
    spent = learner.life.seconds["train"] + learner.life.seconds["build"]
    return {
        "name": stream.worlds[number],
        "accuracy": right / stream.length,
        "end_accuracy": learner.progress.newest_accuracy(CURVE),
        "train_s": spent - sum(w["train_s"] for w in before),
        "depth": learner.trainer.cut,
    }
