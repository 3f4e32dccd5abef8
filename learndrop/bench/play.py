"""Plays one stream through one strategy and measures."""

from __future__ import annotations

import os
import platform
import resource
import time
from dataclasses import dataclass, field
from typing import Any

import torch

from learndrop.bench.arrivals import Arrivals
from learndrop.bench.held_out import Looks
from learndrop.bench.operations import Operations
from learndrop.bench.strategies.strategy import Clock, Strategy
from learndrop.bench.streams import Stream
from learndrop.learning.learner import Learner
from learndrop.settings import Settings


@dataclass
class Batches:
    """What is written down of every batch, as lists of equal length.

    Attributes:
        count: samples.
        right: of them answered right before they were learned.
        train_s: seconds spent on learning: all but the answers, which every strategy owes.
        step_s: those of them in the training step itself and in making maps for it.
        depth: units out of training afterwards.
        trained: 1 where a step was made.
    """

    count: list[int] = field(default_factory=list)
    right: list[int] = field(default_factory=list)
    train_s: list[float] = field(default_factory=list)
    step_s: list[float] = field(default_factory=list)
    depth: list[int] = field(default_factory=list)
    trained: list[int] = field(default_factory=list)


@dataclass
class Store:
    """The largest feature store that was seen, and the raw pixels of as many samples."""

    bytes: int = 0
    raw_bytes: int = 0
    most_bytes_a_raw_byte: float = 0.0

    def look(self, learner: Learner) -> None:
        """Take the present size."""
        side = learner.settings.image_size
        raw, held = 3 * side * side * learner.features.held, learner.features.nbytes
        if held > self.bytes:
            self.bytes, self.raw_bytes = held, raw
        self.most_bytes_a_raw_byte = max(self.most_bytes_a_raw_byte, held / max(1, raw))


def written(seconds: float) -> float:
    """As a run keeps it: in five digits that count, for a step on the head alone may take a
    millionth of a whole one's seconds.

    >>> written(1.23456789e-06), written(0.0)
    (1.2346e-06, 0.0)
    """
    return float(f"{seconds:.5g}")


def play(
    stream: Stream,
    strategy: Strategy,
    settings: Settings,
    arrivals: Arrivals | None = None,
    clock: Clock = time.perf_counter,
) -> dict[str, Any]:
    """One run, as the JSON that tables and plots are drawn from.

    Args:
        stream: the samples.
        strategy: who learns them.
        settings: of the learner; the strategy's own win.
        arrivals: samples come at a rate of their own; without it the stream waits for the learner.
        clock: of all seconds but `wall` and `cpu`.
    """
    own = settings.model_copy(update=dict(strategy.settings))
    learner = strategy.learner(own, clock)
    if isinstance(clock, Operations):
        clock.follow(learner.ledger)
    strategy.begin(learner, stream)
    batches, store, looks, events = Batches(), Store(), Looks(), []
    start, cpu = time.perf_counter(), time.process_time()
    for number, batch in enumerate(stream.batches(own.batch)):
        if fault := stream.faults.get(learner.progress.samples):
            fault.strike(learner)
        begun = clock()
        late = arrivals is not None and arrivals.late(len(batch))
        trains = strategy.trains(learner, number) and not late
        report = learner.learn(batch, train=trains, waiting=arrivals.waiting if arrivals else 0)
        took = clock() - begun
        if arrivals is not None:
            arrivals.took(took)
        batches.count.append(report.count)
        batches.right.append(report.correct)
        batches.train_s.append(written(took - report.seconds["test"]))
        batches.step_s.append(written(report.seconds["train"] + report.seconds["build"]))
        batches.depth.append(learner.trainer.cut)
        batches.trained.append(int(trains))
        store.look(learner)
        looks.look(learner, stream.held_out)
        events += [e.to_json() for e in report.events]
    wall, cpu_s = time.perf_counter() - start, time.process_time() - cpu
    return {
        "label": strategy.label,
        "family": strategy.family,
        "mark": strategy.mark,
        "network": own.network,
        "samples": learner.progress.samples,
        "accuracy": sum(batches.right) / len(stream),
        "worlds": [
            {"name": n, "begin": b} for n, b in zip(stream.worlds, stream.begins, strict=True)
        ],
        "flops": learner.ledger.totals(),
        "seconds": {
            **learner.life.seconds,
            "learn": sum(batches.train_s),
            "wait": arrivals.wait_s if arrivals else 0.0,
            "wall": wall,
            "cpu": cpu_s,
        },
        "units": len(learner.chain.units),
        "batches": vars(batches),
        "store": vars(store),
        "held_out": looks.to_json(),
        "last_label": stream.last_label,
        "real_time": arrivals.to_json() if arrivals else None,
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "events": events,
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
