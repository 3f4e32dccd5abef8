"""First weights of a network: from a safetensors file, or from torchvision over the network."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from learndrop.errors import BadNetwork
from learndrop.networks.heads import head

log = logging.getLogger(__name__)


def load_first_weights(model: nn.Module, name: str, weights: str) -> None:
    """Load a .safetensors file, or with `torchvision` the weights that it offers for `name`.

    Where only the head has another number of classes, the rest is loaded and the log says so.

    Raises:
        BadNetwork: if there are none, they cannot be read, or do not fit.
    """
    own = model.state_dict()
    state = _fetched(model, name) if weights == "torchvision" else _read(weights)
    head_name, _ = head(model)
    of_head = [f"{head_name}.weight", f"{head_name}.bias"]
    fresh = [k for k in of_head if k in state and k in own and state[k].shape != own[k].shape]
    if fresh:
        log.warning(
            "the head of %s has %d classes, this network %d: body loaded, head starts fresh",
            weights,
            len(state[of_head[0]]),
            len(own[of_head[0]]),
        )
        state = {k: v for k, v in state.items() if k not in of_head}
        state |= {k: v for k, v in own.items() if k in of_head}
    take_over(model, state, f"{weights} for {name}")


def take_over(model: nn.Module, state: Mapping[str, Tensor], told: str) -> None:
    """Load all of `state`, which must have every tensor of `model` and no other.

    Raises:
        BadNetwork: naming the first tensors that differ; `told` says whose weights they are.
    """
    own = model.state_dict()
    # Old files lack the counter of batches, which only cumulative averages would need.
    missing = [k for k in own if k not in state and "num_batches_tracked" not in k]
    strange = [k for k in state if k not in own]
    other = [k for k in state if k in own and state[k].shape != own[k].shape]
    for what, keys in (("lack", missing), ("hold unknown", strange)):
        if keys:
            raise BadNetwork(f"weights {told} {what} {_some(keys)}")
    if other:
        shapes = [f"{k} {tuple(state[k].shape)} instead of {tuple(own[k].shape)}" for k in other]
        raise BadNetwork(f"weights {told} have {_some(shapes)}")
    model.load_state_dict(state, strict=False)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _read(path: str) -> Mapping[str, Tensor]:
    if Path(path).suffix != ".safetensors":
        raise BadNetwork(f"weights {path!r} are neither a .safetensors file nor `torchvision`")
    try:
        return cast(Mapping[str, Tensor], load_file(path))
    except (OSError, SafetensorError) as exc:
        raise BadNetwork(f"weights {path} cannot be read: {exc}") from exc


def _fetched(model: nn.Module, name: str) -> Mapping[str, Tensor]:
    from learndrop.networks import torchvision_networks

    return torchvision_networks.fetched(model, name)
