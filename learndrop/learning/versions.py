"""What a model version holds: one safetensors blob a unit, and what a reader needs beside them."""

from __future__ import annotations

from typing import Any

import torch
from safetensors.torch import save

from learndrop.errors import LearndropError
from learndrop.learning.parts import Parts


class NotFinite(LearndropError):
    """A tensor of the network is not finite: such a version is never published."""


def pack(learner: Parts) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The full network as bytes by unit, and what it is.

    Raises:
        NotFinite: naming the tensor.
    """
    parts = {}
    for unit in learner.chain.units:
        tensors = {n: t.detach().cpu().contiguous() for n, t in unit.module.state_dict().items()}
        for name, tensor in tensors.items():
            if tensor.is_floating_point() and not torch.isfinite(tensor).all():
                raise NotFinite(f"{name} is not finite: nothing was published")
        if tensors:
            parts[unit.name] = save(tensors)
    about: dict[str, Any] = {
        "network": learner.spec.with_classes(learner.classes).to_json(),
        "classes": learner.classes,
        "samples": learner.progress.samples,
        "accuracy": learner.progress.accuracy,
        "depth": learner.trainer.cut,
    }
    if unsure := learner.unsure.told():
        # Of weights a little older, while they learned: rather less sure than this version is.
        about["unsure"] = unsure.to_json()
    return parts, about
