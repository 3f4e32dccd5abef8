"""A stream with drifts: one data set played as a row of worlds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from learndrop.datasets import Data, endless
from learndrop.errors import BadInput
from learndrop.messages import Sample
from learndrop.worlds import world


@dataclass(frozen=True)
class Stream:
    """Samples in order, and where each world begins.

    Attributes:
        images: uint8 [N, S, S, 3].
        labels: N class names.
        worlds: names, in order.
        length: samples in each world.
    """

    images: NDArray[np.uint8]
    labels: list[str]
    worlds: tuple[str, ...]
    length: int

    def batches(self, size: int) -> Iterator[list[Sample]]:
        """The stream, `size` samples at a time; a batch never spans two worlds."""
        for start in range(0, len(self.labels), self.length):
            end = start + self.length
            for i in range(start, end, size):
                stop = min(i + size, end)
                yield [Sample(self.images[j], self.labels[j]) for j in range(i, stop)]


def drifting(data: Data, worlds: Sequence[str], length: int, seed: int = 0) -> Stream:
    """Play `data` as a row of worlds of `length` samples each.

    No sample comes twice unless the data are fewer than the stream; then all are moved by a pixel
    or two and get a little noise, as `datasets.endless` says.

    Raises:
        BadInput: for an unknown world or no data.
    """
    size = data.images.shape[1] if len(data) else 0
    if not size:
        raise BadInput("the data set has no image", item="data", value=data.name)
    source = endless(
        data,
        length,
        seed=seed,
        shift=max(1, size // 16),
        noise=4.0,
        first_as_is=len(data) >= length * len(worlds),
    )
    images, labels = [], []
    for name, (pictures, names) in zip(worlds, source, strict=False):
        drift = world(name, classes=data.classes, seed=seed)
        images.append(drift.images(pictures))
        labels.extend(drift.labels(names))
    return Stream(np.concatenate(images), labels, tuple(worlds), length)
