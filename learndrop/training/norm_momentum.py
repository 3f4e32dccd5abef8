"""How closely BatchNorm's running statistics follow the weights."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

NEWEST = 0.3  # weight of the newest step's statistics in the running ones

BatchNorm = nn.modules.batchnorm._BatchNorm


def follow_closely(networks: Iterable[nn.Module]) -> None:
    """Let running statistics reach back 3 steps instead of PyTorch's 10 (momentum 0.1).

    Every sample is answered with them a step after the weights moved. Behind a drift, at a high
    rate, those of 10 steps ago are another network's and spoil the answers; the noise of 3 batches
    costs nothing that could be measured (DECISIONS.md, 2026-11-28). Networks that reach back
    further still (MobileNet's 100 steps, or the plain mean of all) follow like the others.
    """
    for norm in batch_norms(networks):
        norm.momentum = max(NEWEST, norm.momentum or 0.0)


def batch_norms(networks: Iterable[nn.Module]) -> list[BatchNorm]:
    """Those in the networks that keep statistics."""
    return [
        m
        for network in networks
        for m in network.modules()
        if isinstance(m, BatchNorm) and m.track_running_stats
    ]
