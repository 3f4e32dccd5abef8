"""The network grows with its labels: a new one gives the head a row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from learndrop.learning.parts import Parts


def targets_of(learner: Parts, labels: Sequence[str]) -> NDArray[np.int64]:
    """Class indices [N] of labels that are learned now; the head grows for new ones."""
    new = learner.labels.add_new(labels)
    if new:
        if len(learner.classes) > learner.chain.classes:
            learner.trainer.grow(len(learner.classes))
            learner.ledger.rebind(learner.chain)
            learner.settling.scorer.start(learner.trainer.trained)
        learner.publish_soon()
        learner.tell("grow", f"new labels: {', '.join(new[:5])}", classes=len(learner.classes))
    return learner.labels.take(labels)
