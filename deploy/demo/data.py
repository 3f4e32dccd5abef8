"""The demo's stream: labelled batches without end, and held-out images to ask about."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from deploy.demo.phases import Phase
from learndrop.images.datasets import Data, Images, endless
from learndrop.images.worlds import world

HELD_OUT = 0.15
SHIFT = 1 / 16
NOISE = 4.0


@dataclass
class Stream:
    """Seeded: the same data, phases and seed give the same stream.

    A small set repeats: from its second pass on every picture is moved by up to 1/16 of its side
    and gets noise of 4 grey levels. Held-out images are never sent as samples.
    """

    data: Data
    seed: int = 0
    _held: Data = field(init=False)
    _batches: Iterator[tuple[Images, list[str]]] = field(init=False)
    _rng: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        training, self._held = self.data.split(HELD_OUT)
        shift = max(1, round(self.data.images.shape[1] * SHIFT))
        self._batches = endless(training, 1, seed=self.seed, shift=shift, noise=NOISE)
        self._rng = np.random.default_rng(self.seed + 1)

    def samples(self, phase: Phase, count: int) -> tuple[Images, list[str]]:
        """The next `count` labelled images as they look in this phase."""
        taken = [next(self._batches) for _ in range(count)]
        images = np.concatenate([images for images, _ in taken])
        return self._seen(phase, images, [label for _, labels in taken for label in labels])

    def questions(self, phase: Phase, count: int) -> tuple[Images, list[str]]:
        """Held-out images of this phase's world, with the labels that count as right in it."""
        pick = self._rng.choice(len(self._held), min(count, len(self._held)), replace=False)
        return self._seen(phase, self._held.images[pick], [self._held.labels[i] for i in pick])

    def example(self, phase: Phase) -> tuple[Images, str, str]:
        """A held-out picture as this phase shows it [S, S, 3]; its first and present name."""
        images, names = self._seen(phase, self._held.images[:1], self._held.labels[:1])
        return images[0], self._held.labels[0], names[0]

    def _seen(self, phase: Phase, images: Images, labels: list[str]) -> tuple[Images, list[str]]:
        classes = self.data.classes
        pictures = world(phase.pictures, seed=self.seed)
        names = world(phase.labels, classes=classes, seed=self.seed)
        return pictures.images(images), names.labels(labels)
