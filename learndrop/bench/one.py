"""One run of a stream by one strategy; apart.py does each in a process of its own."""

from __future__ import annotations

import os
import time
from typing import Any

import torch

from learndrop.bench.arrivals import Arrivals
from learndrop.bench.jobs import Job, from_json
from learndrop.bench.operations import Operations
from learndrop.bench.play import play
from learndrop.bench.strategies import strategy
from learndrop.bench.strategies.strategy import Clock
from learndrop.bench.streams import stream
from learndrop.images import datasets
from learndrop.settings import load_settings


def run(job: Job) -> dict[str, Any]:
    """Play the job.

    Raises:
        BadInput: for data, a stream or a strategy that is none.
        BadSettings: for settings that cannot be used.
    """
    rival, differs = strategy(job.strategy)
    settings = load_settings(**{"seed": job.seed, **job.settings, **differs})
    torch.set_num_threads(settings.worker_threads or len(os.sched_getaffinity(0)))
    data = datasets.load(job.data, settings.image_size, seed=job.seed)
    played = stream(job.stream, data, job.length, worlds=job.worlds, seed=job.seed)
    arrivals = Arrivals(job.rate, job.backlog) if job.rate else None
    clocks: dict[str, Clock] = {
        "wall": time.perf_counter,
        "processor": time.process_time,
        "operations": Operations(),
    }
    return {"job": job.to_json(), **play(played, rival, settings, arrivals, clocks[job.clock])}


def do(job: dict[str, Any]) -> dict[str, Any]:
    """Play a job as its `as_values` gave it."""
    return run(from_json(job))
