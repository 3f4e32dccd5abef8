"""Forty classes of real pictures: handwritten digits in four colours."""

from __future__ import annotations

import numpy as np

from learndrop.bench.streams import Stream, drifting
from learndrop.images import datasets
from learndrop.images.datasets import Data

COLOURS = {"white": (1, 1, 1), "red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1)}
CLASSES = tuple(f"{digit}-{colour}" for colour in COLOURS for digit in range(10))


def coloured(*worlds: str, length: int, seed: int = 0) -> Stream:
    """Worlds of digits, each picture with the name of its digit and colour."""
    digits = datasets.load("digits", 16, seed=seed)
    images = [(digits.images * np.array(c)).astype(np.uint8) for c in COLOURS.values()]
    labels = [f"{digit}-{colour}" for colour in COLOURS for digit in digits.labels]
    return drifting(Data(np.concatenate(images), labels, "coloured"), worlds, length, seed)


def partly(stream: Stream, classes: int) -> Stream:
    """The same with the names of so many classes exchanged in a ring."""
    some = [CLASSES[i] for i in np.random.default_rng(1).permutation(len(CLASSES))[:classes]]
    to = dict(zip(some, some[1:] + some[:1], strict=True))
    labels = [to.get(label, label) for label in stream.labels]
    return Stream(stream.images, labels, stream.worlds, stream.begins)
