"""Classifiers of timm by name, where timm is installed; learndrop does not need it."""

from __future__ import annotations

import difflib
from importlib import util
from typing import cast

from torch import nn

from learndrop.errors import BadNetwork

PREFIX = "timm:"


def make(name: str, n_classes: int, image_size: int | None) -> nn.Module:
    """Build `timm:NAME` with random first weights.

    Raises:
        BadNetwork: if timm is missing, has no such network, or cannot build it at this size.
    """
    if util.find_spec("timm") is None:
        raise BadNetwork(f"{name} needs timm: pip install timm")
    import timm

    known = name.removeprefix(PREFIX)
    if not timm.is_model(known):
        near = difflib.get_close_matches(known, timm.list_models(), n=3, cutoff=0.0)
        raise BadNetwork(f"timm has no network {known!r}; near: {', '.join(near)}")
    config = timm.get_pretrained_cfg(known)
    # networks that must know the size, like ViT; the others refuse to be told
    told = {"img_size": image_size} if image_size and config and config.fixed_input_size else {}
    try:
        made = timm.create_model(known, pretrained=False, num_classes=n_classes, **told)
    except (AssertionError, ValueError, RuntimeError) as exc:
        raise BadNetwork(f"{name} cannot be built for images of {image_size} px: {exc}") from exc
    return cast(nn.Module, made)
