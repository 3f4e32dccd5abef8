"""What a learner begins with: the network in units, where it lives, and its arithmetic."""

from __future__ import annotations

import torch
from torch import Tensor

from learndrop.errors import BadNetwork, BadSettings
from learndrop.networks import catalogue, units
from learndrop.networks.chain import Chain
from learndrop.settings import Settings
from learndrop.training.precision import Choice, choose


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


def kept_weights(settings: Settings, own: Chain | None) -> dict[str, Tensor] | None:
    """The weights with which a network of the caller's `own` came, on the CPU: the settings cannot
    make them again. Empty where no candidate may ask for them; None where there is no such network.
    """
    if own is None:
        return None
    kept = own.state_dict() if settings.candidate else {}
    return {name: t.detach().to("cpu", copy=True) for name, t in kept.items()}


def first_weights(
    settings: Settings, precision: Choice, kept: dict[str, Tensor] | None
) -> dict[str, Tensor]:
    """The weights and statistics that a learner began with; `kept` is what `kept_weights` gave.

    Raises:
        BadNetwork: if they were not kept.
    """
    if kept is None:
        return newborn(settings, precision)[0].state_dict()
    if not kept:
        raise BadNetwork("first weights of a network of one's own are kept for `candidate` only")
    return kept


def _built(settings: Settings) -> Chain:
    size = settings.image_size
    model = catalogue.build(
        settings.network,
        max(2, len(settings.classes)),
        weights=settings.weights,
        seed=settings.seed,
        image_size=size,
    )
    return units.cut(model, torch.zeros(1, 3, size, size))


def _device(name: str) -> torch.device:
    """The device of that name, which can hold a number and give it back.

    Raises:
        BadSettings: if there is none, or none such here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as exc:
        why = str(exc).partition("\n")[0].partition(". ")[0]
        raise BadSettings(f"LEARNDROP_DEVICE {name!r} cannot be used here: {why}") from exc
    return device
