"""What a learner begins with: the network in units, where it lives, and its arithmetic."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from learndrop import networks, units
from learndrop.chain import Chain
from learndrop.errors import BadNetwork
from learndrop.precision import Choice, choose
from learndrop.settings import Settings


def newborn(
    settings: Settings, precision: Choice | None, chain: Chain | None = None
) -> tuple[Chain, torch.device, Choice]:
    """Build the network of the settings; how it is computed is measured unless it is known.

    Args:
        settings: network, first weights, device.
        precision: as measured before.
        chain: a network that was cut already; it is taken instead of the settings' one.

    Raises:
        BadNetwork: if the network cannot be built or cut.
    """
    device = _device(settings.device)
    if device.type == "cuda":  # a run that was resumed is to be the one that was not, to the bit
        torch.backends.cudnn.deterministic = True
    size = settings.image_size
    chain = chain or _built(settings)
    choice = precision or choose(
        chain,
        torch.zeros(settings.batch, 3, size, size),
        device,
        settings.precision,
        settings.memory_format,
    )
    return chain, device, choice


def first_weights(
    settings: Settings, precision: Choice, own: Chain | None
) -> Callable[[], dict[str, Tensor]]:
    """What gives the weights and statistics that a learner begins with, whenever they are wanted.

    The settings' network is built anew for them. Those of a network of the caller's `own` are kept
    on the CPU, and only where a candidate may ask for them.

    Raises:
        BadNetwork: when it is called, if they were not kept.
    """
    if own is None:
        return lambda: newborn(settings, precision)[0].state_dict()
    kept = None
    if settings.candidate:
        kept = {name: t.detach().to("cpu", copy=True) for name, t in own.state_dict().items()}

    def given() -> dict[str, Tensor]:
        if kept is None:
            raise BadNetwork(
                "first weights of a network of one's own are kept for `candidate` only"
            )
        return kept

    return given


def _built(settings: Settings) -> Chain:
    size = settings.image_size
    model = networks.build(
        settings.network,
        max(2, len(settings.classes)),
        weights=settings.weights,
        seed=settings.seed,
        image_size=size,
    )
    return units.cut(model, torch.zeros(1, 3, size, size))


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)
