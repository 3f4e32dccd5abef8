"""A batch as it arrives: what each sample is, and what the network answers before it learns it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from learndrop.learning.growing import targets_of
from learndrop.learning.parts import Parts
from learndrop.stream.id_arrays import as_rows
from learndrop.stream.messages import Sample


@dataclass(frozen=True, slots=True)
class Batch:
    """Samples that arrived together, answered.

    Attributes:
        keys: who sent each sample [N].
        names: what the samples are called outside [N, 2].
        ids: counted over the learner's life [N].
        images: uint8 [N, S, S, 3].
        targets: class indices [N].
        x: float [N, 3, S, S], the images as the network takes them.
        outputs: of every unit.
        logits: float32 [N, rows of the head].
        answers: class indices [N].
        right: whether each was answered as labelled [N].
        unsure: how unsure each answer is [N]; see unlabelled.py.
    """

    keys: list[str]
    names: NDArray[np.int64]
    ids: NDArray[np.int64]
    images: NDArray[np.uint8]
    targets: NDArray[np.int64]
    x: Tensor
    outputs: list[Tensor]
    logits: Tensor
    answers: NDArray[np.int64]
    right: NDArray[np.bool_]
    unsure: NDArray[np.float32]


def answered(learner: Parts, samples: Sequence[Sample]) -> Batch:
    """Let the full network answer samples that it has not learned; new labels are known then."""
    images = np.stack([s.image for s in samples])
    targets = targets_of(learner, [s.label for s in samples])
    begin, n = learner.progress.samples, len(samples)
    with learner.timed("test"):
        x = learner.floats(images)
        _, logits, outputs = learner.trainer.test(x, watch=True)
        learner.ledger.test(n)
        # the head may have rows for labels that have not come yet: they are no answer
        known = logits[:, : len(learner.classes)]
        unsure = 1.0 - known.float().softmax(1).amax(1)
        answers = known.argmax(1).cpu().numpy()
    return Batch(
        keys=[s.key for s in samples],
        names=as_rows([s.id for s in samples], n),
        ids=np.arange(begin, begin + n),
        images=images,
        targets=targets,
        x=x,
        outputs=outputs,
        logits=logits,
        answers=answers,
        right=answers == targets,
        unsure=unsure.cpu().numpy(),
    )
