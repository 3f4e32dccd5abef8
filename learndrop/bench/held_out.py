"""Pictures that a stream never shows, to ask what the weights know of every class all along.

Where classes come one after the other, the share of right answers to what arrives says little:
whoever answers with the last label is nearly always right there (Zliobaite and others, Evaluation
methods and decision theory for classification of streaming data with temporal dependence, 2015).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from learndrop.images.datasets import Data, unplayed
from learndrop.images.worlds import World

if TYPE_CHECKING:
    from learndrop.learning.learner import Learner

MOST = 256  # pictures
FEWEST = 64  # fewer say nothing
EVERY = 256  # samples between two looks
PART = 64  # pictures in one pass


@dataclass(frozen=True)
class HeldOut:
    """The same pictures as each world shows them.

    Attributes:
        images: uint8 [N, S, S, 3], by world.
        labels: N class names, by world.
        begins: first sample of each world.
    """

    images: tuple[NDArray[np.uint8], ...]
    labels: tuple[NDArray[np.str_], ...]
    begins: tuple[int, ...]

    def share_right(self, learner: Learner) -> float:
        """Share of them, as the present world shows them, that the learner answers right."""
        last_seen = learner.progress.samples - 1
        world = max(i for i, begin in enumerate(self.begins) if begin <= last_seen)
        images, labels = self.images[world], self.labels[world]
        names = np.array(learner.classes)
        answers = [
            names[learner.predict(images[at : at + PART]).argmax(1)]
            for at in range(0, len(images), PART)
        ]
        return float(np.mean(np.concatenate(answers) == labels))


def held_out(
    data: Data, played: int, worlds: Sequence[World], begins: Sequence[int], seed: int
) -> HeldOut | None:
    """Pictures of the data beyond the first `played` ones of a stream; None where few are left."""
    left = unplayed(data, played, seed)[:MOST]
    if len(left) < FEWEST:
        return None
    names = [data.labels[i] for i in left]
    return HeldOut(
        tuple(w.images(data.images[left].copy()) for w in worlds),
        tuple(np.array(w.labels(names)) for w in worlds),
        tuple(begins),
    )


@dataclass
class Looks:
    """What was found at each look.

    Attributes:
        samples: seen until then.
        right: share of the pictures answered right.
    """

    samples: list[int] = field(default_factory=list)
    right: list[float] = field(default_factory=list)

    def look(self, learner: Learner, pictures: HeldOut | None) -> None:
        """Look, if it is time and there are pictures."""
        seen = learner.progress.samples
        due = (self.samples[-1] if self.samples else 0) + EVERY
        if pictures is not None and seen >= due:
            self.samples.append(seen)
            self.right.append(round(pictures.share_right(learner), 4))

    def to_json(self) -> dict[str, Any] | None:
        """For a run; None where nobody looked."""
        return vars(self) if self.samples else None
