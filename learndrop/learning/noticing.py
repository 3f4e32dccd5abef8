"""What a batch tells before it is learned: whom to believe, and whether the world has changed."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from learndrop.learning import drifts
from learndrop.learning.batch import Batch
from learndrop.learning.parts import Parts


def notice(learner: Parts, batch: Batch) -> NDArray[np.bool_]:
    """Judge the senders of a batch by its answers, and the world by what is believed; act on both.

    Returns:
        which samples are to be trained on [N].
    """
    targets, right = batch.targets, batch.right
    known = learner.labels.are_known(targets)
    believed, chosen, rulings = learner.belief.take(
        batch.keys, batch.images, targets, batch.ids, right, known, batch.names
    )
    learner.progress.add(right.tolist(), believed.tolist())
    learner.unsure.take(batch.unsure[believed].tolist())
    for ruling in rulings:
        learner.rule(drifts.heard(learner, ruling))
    if believed.any():
        rows = slice(None) if believed.all() else torch.from_numpy(believed)
        outputs, answers = batch.outputs, batch.answers
        with learner.timed("test"):
            if learner.witness is not None:  # the learner has moved since the alarm
                outputs, answers = learner.witness.look(batch.x, len(learner.classes))
                learner.ledger.probe(len(batch.x))
            # the logits grow with the labels
            learner.watch.look([t[rows] for t in (batch.x, *outputs[:-1])])
        # what is too new to be answered right says nothing of a change either
        told = believed & ~learner.labels.are_newcomers(targets)
        noticed = learner.watch.update(right[told].tolist(), answers[told], targets[told])
        drifts.answer(learner, noticed)
    return chosen
