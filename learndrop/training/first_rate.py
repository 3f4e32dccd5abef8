"""The learning rate of settings that leave it open: what the first weights bear.

Weights that know something are spoilt by steps that random ones need to get anywhere soon, and
random ones without BatchNorm do not bear those either. The figures are in DECISIONS.md.
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from learndrop.settings import Settings
from learndrop.training.norm_momentum import batch_norms

KNOWING = 0.005  # first weights were given
RANDOM = 0.05  # they are random, and BatchNorm keeps the size of the maps
RANDOM_WITHOUT_NORMS = 0.01


def first_rate(settings: Settings, networks: Iterable[nn.Module], *, own: bool = False) -> float:
    """What `rate` 0 stands for.

    Args:
        settings: whether first weights are given.
        networks: the network before its first step, whole or in parts.
        own: it is the caller's, who may have trained it before. Statistics that have never been
            taken say that nobody has; without any it cannot be told, and the low rate harms less.
    """
    if settings.weights:
        return KNOWING
    norms = batch_norms(networks)
    if not norms:
        return KNOWING if own else RANDOM_WITHOUT_NORMS
    return KNOWING if own and not all(map(_untouched, norms)) else RANDOM


def with_rate(settings: Settings, rate: float) -> Settings:
    """The settings with that rate where they leave it open; it does not count as set by anybody."""
    if settings.rate:
        return settings
    known = settings.model_copy(update={"rate": rate})
    known.model_fields_set.discard("rate")
    return known


def _untouched(norm: nn.modules.batchnorm._BatchNorm) -> bool:
    mean, spread = norm.running_mean, norm.running_var
    if mean is None or spread is None:
        return True
    return not bool(mean.any()) and bool((spread == 1).all())
