"""The layer that gives the logits: finds it, and gives it room for more classes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from learndrop.errors import BadNetwork


def head(model: nn.Module) -> tuple[str, nn.Linear | nn.Conv2d]:
    """The qualified name and module of the layer that gives the logits.

    Raises:
        BadNetwork: if there is no Linear or Conv2d at all.
    """
    # All torchvision classifiers name it last; tests hold this for every family.
    for name, module in reversed(list(model.named_modules())):
        if isinstance(module, nn.Linear | nn.Conv2d):
            return name, module
    raise BadNetwork(f"{type(model).__name__} has no Linear or Conv2d that could be its head")


def n_outputs(layer: nn.Linear | nn.Conv2d) -> int:
    """How many classes a head tells apart."""
    return layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels


def grow_head(model: nn.Module, n_classes: int) -> None:
    """Give the head rows for more classes, in place; old rows stay as they are, bit for bit.

    A new row is the mean of the old ones, weight and bias: its logit is then the mean of the old
    logits, never their maximum, so that no prediction changes at the moment of growth. (A row of
    zeros would win wherever all old logits are negative.) Weight and bias are new Parameters:
    an optimizer that held the old ones has to be told.

    Raises:
        BadNetwork: if the head would shrink.
    """
    grow_layer(head(model)[1], n_classes)


def grow_layer(layer: nn.Linear | nn.Conv2d, n_classes: int) -> None:
    """`grow_head` for the head itself."""
    more = n_classes - n_outputs(layer)
    if more < 0:
        raise BadNetwork(f"a head of {n_outputs(layer)} classes cannot shrink to {n_classes}")
    if more == 0:
        return
    for name, old in list(layer.named_parameters(recurse=False)):
        with torch.no_grad():
            rows = _with_mean_rows(old, more)
        setattr(layer, name, nn.Parameter(rows, requires_grad=old.requires_grad))
    if isinstance(layer, nn.Linear):
        layer.out_features = n_classes
    else:
        layer.out_channels = n_classes


def with_rows_since(
    earlier: Mapping[str, Tensor], present: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Earlier weights in the shapes of the present ones: what the head has grown since then comes
    from the present ones (no number becomes 0 there).

    Raises:
        KeyError: if an earlier tensor is missing.
        RuntimeError: if one differs in more than its rows.
    """
    return {name: _grown(earlier[name], tensor) for name, tensor in present.items()}


def begun_anew(first: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """First weights in the shapes of the present ones: rows that the head has grown since are what
    `grow_head` would have made of the first ones.

    Raises:
        KeyError: if a first tensor is missing.
        RuntimeError: if one has more rows than now.
    """
    return {
        name: first[name]
        if first[name].shape == tensor.shape
        else _with_mean_rows(first[name], len(tensor) - len(first[name]))
        for name, tensor in present.items()
    }


def _with_mean_rows(old: Tensor, more: int) -> Tensor:
    """A tensor [rows, ...] with so many rows more, each the mean of the old ones."""
    return torch.cat([old, old.mean(0, keepdim=True).expand(more, *old.shape[1:])])


def _grown(earlier: Tensor, present: Tensor) -> Tensor:
    earlier = earlier.to(present.device, present.dtype)
    if earlier.shape == present.shape:
        return earlier
    grown = torch.nan_to_num(present.clone(), 0.0, 0.0, 0.0)
    grown[: len(earlier)] = earlier
    return grown
