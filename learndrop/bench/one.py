"""One run of the bench, in a process of its own: job as JSON on stdin, result to the file named."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch

from learndrop import datasets
from learndrop.bench import strategies
from learndrop.bench.play import play
from learndrop.bench.strategies import Strategy
from learndrop.bench.streams import drifting
from learndrop.settings import Settings


def strategy_of(name: str, budget: float | None) -> Strategy:
    """The strategy of that name; `budget` is seconds a sample (held) or a share (thinned)."""
    if name == "held":
        return strategies.held_to(float(budget or 0))
    if name == "thinned":
        # what it may do after the drifts is what is left of its share
        return strategies.thinned(float(budget or 0), "full, same share of samples")
    return {
        "learndrop": strategies.learndrop,
        "full fine-tuning": strategies.plain,
        "head only": strategies.head_only,
    }[name]()


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Play the job."""
    settings = Settings(**{"seed": job["seed"], **job["settings"]})
    torch.set_num_threads(settings.worker_threads or len(os.sched_getaffinity(0)))
    data = datasets.load(job["data"], settings.image_size, seed=job["seed"])
    stream = drifting(data, job["worlds"], job["length"], seed=job["seed"])
    return {**play(stream, strategy_of(job["strategy"], job["budget"]), settings), "job": job}


if __name__ == "__main__":
    result = run(json.loads(sys.stdin.read()))
    Path(sys.argv[1]).write_text(json.dumps(result))
