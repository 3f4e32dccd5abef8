"""Streams that several keys send, for tests of whom to believe: digits, some labels wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from learndrop.bench.streams import Stream
from learndrop.stream.messages import Sample
from tests.learning import digits

CLASSES = [str(n) for n in range(10)]


def shifted(label: str) -> str:
    """The wrong label of an attacker who always lies in the same way."""
    return CLASSES[(CLASSES.index(label) + 1) % 10]


def samples(length: int, seed: int = 0, world: str = "clean") -> list[Sample]:
    """Digits in a row."""
    stream: Stream = digits(world, length=length, seed=seed)
    return [sample for batch in stream.batches(32) for sample in batch]


def mixed(
    source: Sequence[Sample], shares: dict[str, float], lying: Sequence[str] = (), seed: int = 0
) -> Iterator[list[Sample]]:
    """The samples in batches of 32, each given to a key by chance; those that lie shift labels."""
    names = list(shares)
    weights = np.array([shares[n] for n in names])
    chosen = np.random.default_rng(seed).choice(names, len(source), p=weights / weights.sum())
    sent = [
        replace(s, key=str(k), label=shifted(s.label) if k in lying else s.label)
        for s, k in zip(source, chosen, strict=True)
    ]
    for at in range(0, len(sent), 32):
        yield sent[at : at + 32]
