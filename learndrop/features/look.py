"""A look at what a codec costs: arriving samples are answered from their decoded maps too."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learndrop.features.choice import FeatureChoice
from learndrop.features.codecs import Codec
from learndrop.networks.transfer import to_device
from learndrop.training.ledger import Ledger
from learndrop.training.trainer import Trainer


def look(
    choice: FeatureChoice,
    codec: Codec,
    trainer: Trainer,
    ledger: Ledger,
    maps: Tensor,
    logits: Tensor,
    targets: NDArray[np.int64],
) -> None:
    """Let the choice see one batch, if it asks for one.

    Args:
        choice: keeps the figures.
        codec: on trial.
        trainer: answers from the decoded maps.
        ledger: pays for it.
        maps: [N, ...] that enter the cut.
        logits: float32 [N, classes], the answers from them as they are.
        targets: class indices [N].
    """
    cut, end = trainer.cut, len(trainer.chain.units)
    cost = len(maps) * ledger.forward_cost(cut, end)
    done = int(ledger.totals()["done"])
    if not codec.ready or not choice.wants_a_look(cost, done):
        return
    decoded = trainer.run(codec.decode(codec.encode(maps)), cut, end)
    ledger.probe(len(maps), cut)
    choice.spent += cost
    right = to_device(targets, maps.device)
    known = right < logits.shape[1]  # the head has grown since for a label that came just now
    row = torch.arange(len(right), device=maps.device)[known]
    chance = [x.float().softmax(1)[row, right[known]] for x in (logits, decoded)]
    hits = [(x.argmax(1) == right)[known] for x in (logits, decoded)]
    lost, won = int((hits[0] & ~hits[1]).sum()), int((hits[1] & ~hits[0]).sum())
    choice.figures.add((chance[0] - chance[1]).tolist(), lost, won)
