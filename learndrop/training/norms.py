"""BatchNorm's statistics, taken anew."""

from __future__ import annotations

import torch
from torch import Tensor

from learndrop.training.norm_momentum import batch_norms
from learndrop.training.precision import autocast
from learndrop.training.trainer import Trainer

PART = 32  # samples, about a batch: the statistics are a mean over parts of that size


def adapt_statistics(trainer: Trainer, x: Tensor, *, start: int = 0) -> None:
    """Take the statistics of the units from `start` on anew from the maps [N, ...] that enter it
    (images where it is 0), as their mean over parts of a batch's size; weights stay."""
    chain = trainer.chain
    norms = batch_norms(u.module for u in chain.units[start:])
    momentum = [m.momentum for m in norms]
    chain.eval()
    for m in norms:
        m.train()
    with torch.no_grad(), autocast(trainer.device, trainer.choice.dtype):
        for i, images in enumerate(torch.split(x, PART)):
            if len(images) < 2:  # one has no spread
                continue
            for m in norms:
                m.momentum = 1.0 / (i + 1)
            chain.tail(images, start)
    for m, value in zip(norms, momentum, strict=True):
        m.momentum = value
        m.eval()
