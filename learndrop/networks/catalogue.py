"""Builds the network that a setting or a model version names.

`small-resnet10` and `small-resnet18` are ours, for small images; `timm:NAME` is one of timm's,
where that is installed; all other names are torchvision's classifiers.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Mapping
from functools import lru_cache
from itertools import chain

import torch
from torch import Tensor, nn

from learndrop.errors import BadNetwork
from learndrop.networks import timm_networks
from learndrop.networks.first_weights import load_first_weights, take_over
from learndrop.networks.heads import grow_layer, head, n_outputs
from learndrop.networks.small_resnets import SMALL_RESNETS, SmallResNet
from learndrop.networks.spec import NetworkSpec


def known_networks() -> list[str]:
    """Every name that `build` takes."""
    from learndrop.networks import torchvision_networks

    return [*SMALL_RESNETS, *torchvision_networks.names()]


def build(
    name: str, n_classes: int, *, weights: str = "", seed: int = 0, image_size: int | None = None
) -> nn.Module:
    """Build a classifier with `n_classes` outputs, in eval mode, on the CPU.

    The same name, seed and classes give the same first weights; the global random state stays as
    it was. `weights` is empty, the path of a .safetensors file, or `torchvision`. `image_size` is
    the side of the images it will see: networks that must know it (ViT) are built for it, and for
    all others one too small is refused here.

    Raises:
        BadNetwork: for an unknown name, weights that do not fit, or images too small.
    """
    ours = name in SMALL_RESNETS or name.startswith(timm_networks.PREFIX)
    if not ours and name not in known_networks():
        near = difflib.get_close_matches(name.lower(), known_networks(), n=3, cutoff=0.0)
        raise BadNetwork(f"no network is called {name!r}; near: {', '.join(near)}")
    if n_classes < 1:
        raise BadNetwork(f"a network needs 1 class or more, not {n_classes}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _make(name, n_classes, image_size)
    if weights:
        load_first_weights(model, name, weights)
    model.eval()
    if image_size is not None:
        check_image_size(model, name, image_size)
    return model


def shell(name: str, n_classes: int, *, image_size: int) -> nn.Module:
    """The network of `build` without weights (torch's meta device), for whoever has all of them.

    First weights are most of the time that building takes. `fill` gives it its own; what cannot be
    made so comes with first weights.

    Raises:
        BadNetwork: as `build`.
    """
    hollow = _hollow(name, n_classes, image_size)
    if hollow is None:
        return build(name, n_classes, image_size=image_size)
    return copy.deepcopy(hollow, {id(t): t for t in chain(hollow.parameters(), hollow.buffers())})


@lru_cache(maxsize=8)
def _hollow(name: str, n_classes: int, image_size: int) -> nn.Module | None:
    """What `shell` copies, None where there is no such thing. Even on the meta device first weights
    take 30 ms of Python, in which no other thread of the process comes to its turn."""
    try:
        with torch.device("meta"):
            return _make(name, n_classes, image_size).eval()
    except (BadNetwork, RuntimeError, NotImplementedError, TypeError, ValueError):
        return None


def fill(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Give a network these tensors for its own, in its dtypes.

    Raises:
        RuntimeError: if they are not those of the network.
    """
    known = network.state_dict()
    own = {n: t.to(known[n].dtype) if n in known else t for n, t in state.items()}
    network.load_state_dict(own, assign=True)


def is_hollow(network: nn.Module) -> bool:
    """Whether some tensor of it still has no values."""
    return any(tensor.is_meta for tensor in chain(network.parameters(), network.buffers()))


def rebuild(spec: NetworkSpec, state: Mapping[str, Tensor]) -> nn.Module:
    """The network of a model version, in eval mode, with the version's weights.

    Args:
        spec: what the version's manifest says of it.
        state: all tensors of the version by their names in the network.

    Raises:
        BadNetwork: if the two do not belong together.
    """
    model = build(spec.name, max(1, len(spec.classes)), image_size=spec.image_size)
    name, layer = head(model)
    rows = state.get(f"{name}.weight")
    if rows is not None and len(rows) > n_outputs(layer):
        grow_layer(layer, len(rows))  # a head may have room for labels that are still to come
    take_over(model, state, f"of {spec.name}")
    return model


def _make(name: str, n_classes: int, image_size: int | None) -> nn.Module:
    if name in SMALL_RESNETS:
        return SmallResNet(*SMALL_RESNETS[name], n_classes)
    if name.startswith(timm_networks.PREFIX):
        return timm_networks.make(name, n_classes, image_size)
    from learndrop.networks import torchvision_networks

    return torchvision_networks.make(name, n_classes, image_size)


def check_image_size(model: nn.Module, name: str, image_size: int) -> None:
    """Pass one black image through `model` (in eval mode) to see that the size fits.

    Raises:
        BadNetwork: if the image is too small for the network's strides.
    """
    device = next(model.parameters()).device
    try:
        with torch.no_grad():
            model(torch.zeros(1, 3, image_size, image_size, device=device))
    except (RuntimeError, ValueError, AssertionError) as exc:
        told = str(exc).partition("\n")[0]
        raise BadNetwork(
            f"{name} cannot take images of {image_size} px: too small for its strides or windows"
            f" ({told})"
        ) from exc
