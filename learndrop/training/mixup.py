"""Mixup of feature maps: two samples' maps as one, and both labels in the loss by the same shares.

Zhang et al. 2017 (arXiv 1710.09412) at the pixels; at hidden maps Verma et al. 2018 (manifold
mixup, arXiv 1806.05236). Here replayed rows are mixed with each other, arriving ones stay.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from learndrop.networks.transfer import to_device


class Mix(NamedTuple):
    """What was mixed into each row of a step.

    Attributes:
        others: int64 [N], class indices of what was mixed in.
        shares: float32 [N] in [0, 1], how much of a row is its own; 1 where nothing was mixed in.
    """

    others: Tensor
    shares: Tensor


def mix_rows(
    maps: Tensor, targets: Tensor, *, first: int, alpha: float, rng: np.random.Generator
) -> tuple[Tensor, Mix]:
    """Mix the rows from `first` on with each other in a drawn order.

    Args:
        maps: float [N, ...]; left as they are.
        targets: int64 [N] class indices.
        first: rows before it stay whole.
        alpha: of the beta distribution that a share is drawn from; small ones mix little.
        rng: draws order and shares.
    """
    n = len(maps)
    order = np.arange(n)
    order[first:] = first + rng.permutation(n - first)
    drawn = np.ones(n, np.float32)
    drawn[first:] = rng.beta(alpha, alpha, n - first)
    shares, partners = to_device(drawn, maps.device), to_device(order, maps.device)
    weights = shares.to(maps.dtype).view(-1, *[1] * (maps.dim() - 1))
    return torch.lerp(maps[partners], maps, weights), Mix(targets[partners], shares)


def cross_entropy(logits: Tensor, targets: Tensor, mix: Mix | None) -> Tensor:
    """Mean cross-entropy [] of float32 logits [N, classes], each label by its share.

    >>> logits = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    >>> whole = cross_entropy(logits, torch.tensor([0, 0]), None)
    >>> other = cross_entropy(logits, torch.tensor([1, 1]), None)
    >>> half = Mix(torch.tensor([1, 1]), torch.tensor([0.5, 0.5]))
    >>> mixed = cross_entropy(logits, torch.tensor([0, 0]), half)
    >>> bool(torch.isclose(mixed, (whole + other) / 2))
    True
    """
    if mix is None:
        return nn.functional.cross_entropy(logits, targets)
    own = nn.functional.cross_entropy(logits, targets, reduction="none")
    other = nn.functional.cross_entropy(logits, mix.others, reduction="none")
    return (mix.shares * own + (1 - mix.shares) * other).mean()
