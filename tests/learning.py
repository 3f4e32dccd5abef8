"""Small learners and streams for the tests of the engine: handwritten digits, a small network."""

from __future__ import annotations

from typing import Any

import torch

from learndrop import datasets
from learndrop.bench.streams import Stream, drifting
from learndrop.learner import Learner
from learndrop.settings import Settings

# On a GPU torch makes float32 convolutions of shorter numbers unless told not to; tests compare.
torch.backends.cudnn.allow_tf32 = False

QUICK: dict[str, Any] = {
    "network": "small-resnet10",
    "image_size": 16,
    "batch": 32,
    "rate": 0.05,
    "rate_halving": 500,
    "window": 4,
    "precision": "float32",
    "memory_format": "contiguous",
    "feature_bytes": 4 * 2**20,
    "feature_codec": "bf16",
    "accuracy_window": 256,
}


def quick_settings(**overrides: Any) -> Settings:
    return Settings(**{**QUICK, **overrides})


def quick_learner(**overrides: Any) -> Learner:
    return Learner(quick_settings(**overrides))


def digits(*worlds: str, length: int, seed: int = 0) -> Stream:
    return drifting(datasets.load("digits", 16, seed=seed), worlds, length, seed=seed)


def learn(learner: Learner, stream: Stream) -> list[str]:
    """Learn the whole stream; the types of the events, in order."""
    types: list[str] = []
    for batch in stream.batches(learner.settings.batch):
        types += [e.type for e in learner.learn(batch).events]
    return types
