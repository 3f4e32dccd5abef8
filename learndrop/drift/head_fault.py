"""Tells a head at fault from a changed input, where the statistics of all maps are as before.

A turned picture has the channel statistics of an upright one, and a head that has been disturbed
changes no map at all: in both worlds answers are scattered and nothing stands out. What differs is
what the last maps say. Each class of the world before has a mean there, made by the weights as
they are now. Where new pictures still lie nearest to the mean of their own class, everything up to
the head is right.
"""

from __future__ import annotations

import torch
from torch import Tensor

from learndrop.networks.floats import Floats
from learndrop.replay.buffer import ReplayBuffer
from learndrop.training.ledger import Ledger
from learndrop.training.trainer import Trainer

OLDER, NEW = 128, 64  # samples that are looked at: what one verdict may cost
EACH, MOST = 4, 512  # older ones for each label, where that is more; a mean of one is no mean
LEAST = 64  # fewer tell nothing
ENOUGH = 0.8  # of the accuracy before


def head_alone(
    trainer: Trainer, replay: ReplayBuffer, floats: Floats, ledger: Ledger, accuracy: float
) -> bool:
    """Whether the maps that enter the last unit still tell the newest samples by their class.

    Args:
        trainer: makes the maps.
        replay: holds samples of the present world, and of those before.
        floats: makes the network's input of images.
        ledger: pays for the maps.
        accuracy: before the change.
    """
    wanted = min(MOST, max(OLDER, EACH * len(replay.by_class())))
    older, new = replay.earlier(wanted), replay.newest(NEW)
    if min(len(older), len(new)) < LEAST:
        return False
    head = len(trainer.chain.units) - 1

    def features(places: list[int]) -> Tensor:
        return by_channel(trainer.run(floats(replay.images[places]), 0, head))

    ledger.look(0, (len(older) + len(new)) * ledger.forward_cost(0, head))
    before, now = features(older.tolist()), features(new.tolist())
    targets = [torch.from_numpy(replay.targets[p]).to(before.device) for p in (older, new)]
    return told_by_means(before, targets[0], now, targets[1]) >= ENOUGH * accuracy


def told_by_means(before: Tensor, its_targets: Tensor, now: Tensor, targets: Tensor) -> float:
    """Share of the rows `now` [M, C] that lie nearest to the mean of their class `before` [N, C].

    >>> before, its = torch.tensor([[0.0], [2.0], [9.0]]), torch.tensor([4, 4, 7])
    >>> told_by_means(before, its, torch.tensor([[1.5], [8.0], [3.0]]), torch.tensor([4, 7, 7]))
    0.6666666865348816
    """
    classes, rows = torch.unique(its_targets, return_inverse=True)
    sums = torch.zeros(len(classes), before.shape[1], device=before.device)
    means = sums.index_add(0, rows, before) / rows.bincount().unsqueeze(1)
    # not by a product of matrices: with few samples it costs nothing, and is exact
    gaps = torch.cdist(now, means, compute_mode="donot_use_mm_for_euclid_dist")
    return float((classes[gaps.argmin(1)] == targets).float().mean())


def by_channel(maps: Tensor) -> Tensor:
    """float32 [N, C]: the mean of each channel over the places of a map."""
    x = maps.float()
    if x.ndim == 4 and x.shape[2] == x.shape[3]:  # [N, C, S, S]; else channels come last
        return x.mean((2, 3))
    return x.flatten(1, -2).mean(1) if x.ndim > 2 else x
