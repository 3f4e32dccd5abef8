"""Small learners and streams for the tests of the engine: handwritten digits, a small network."""

from __future__ import annotations

import itertools
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from learndrop.bench.streams import Stream, drifting
from learndrop.images import datasets
from learndrop.learning import checkpoint
from learndrop.learning.learner import Learner
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


def learned(samples: int, *worlds: str, length: int = 0, **overrides: Any) -> Learner:
    """A learner that has learned the first samples of a stream of digits.

    It learns them once a process, what it learned of the same stream for another test included.
    Everybody gets one of their own, brought back from a checkpoint: that it is the same to the bit
    is what tests/test_checkpoint.py is about.
    """
    stream = (worlds or ("clean",), length or samples, tuple(sorted(overrides.items())))
    folder = _kept(samples, stream)
    found = checkpoint.load_latest(folder, quick_settings(**overrides))
    assert found is not None
    return found[0]


Learned = tuple[tuple[str, ...], int, tuple[tuple[str, Any], ...]]  # worlds, length, overrides
_FOLDERS: dict[tuple[int, Learned], TemporaryDirectory[str]] = {}  # gone with the process


def _kept(samples: int, stream: Learned) -> Path:
    if (samples, stream) not in _FOLDERS:
        worlds, length, overrides = stream
        begun = max((n for n, other in _FOLDERS if other == stream and n < samples), default=0)
        learner = (
            learned(begun, *worlds, length=length, **dict(overrides))
            if begun
            else quick_learner(**dict(overrides))
        )
        size = learner.settings.batch
        batches = digits(*worlds, length=length).batches(size)
        for batch in itertools.islice(batches, begun // size, samples // size):
            learner.learn(batch)
        made = _FOLDERS[samples, stream] = TemporaryDirectory()
        checkpoint.save(learner, Path(made.name), "0-0", keep=1)
    return Path(_FOLDERS[samples, stream].name)


@cache
def _read(seed: int) -> datasets.Data:
    """Read once a process: it takes as long as thirty steps. A stream draws copies of it."""
    return datasets.load("digits", 16, seed=seed)


def digits(*worlds: str, length: int, seed: int = 0) -> Stream:
    return drifting(_read(seed), worlds, length, seed=seed)


def learn(learner: Learner, stream: Stream) -> list[str]:
    """Learn the whole stream; the types of the events, in order."""
    types: list[str] = []
    for batch in stream.batches(learner.settings.batch):
        types += [e.type for e in learner.learn(batch).events]
    return types
