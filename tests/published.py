"""Real model versions for tests of the service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

from learndrop.disk.registry import Registry
from learndrop.networks import catalogue
from learndrop.networks.floats import to_float
from learndrop.networks.spec import NetworkSpec
from learndrop.settings import Settings, load_settings
from tests.services import Pixels

CLASSES = ("cat", "dog", "bird")


def publish(
    data_dir: Path,
    *,
    seed: int = 0,
    classes: Sequence[str] = CLASSES,
    spare_rows: int = 0,
    damage: Mapping[str, torch.Tensor] | None = None,
    **overrides: Any,
) -> int:
    """Publish a network with random weights, as the worker does; its number."""
    settings = load_settings(**(overrides | {"data_dir": data_dir}))
    model = network(settings, seed, len(classes) + spare_rows)
    state = dict(model.state_dict()) | dict(damage or {})
    units = sorted({name.split(".")[0] for name in state})
    parts = {
        unit: save({k: v.contiguous() for k, v in state.items() if k.split(".")[0] == unit})
        for unit in units
    }
    spec = NetworkSpec.from_settings(settings).with_classes(classes)
    about = {"network": spec.to_json(), "classes": list(classes), "samples": 100 * (seed + 1)}
    return Registry(settings.models_dir, keep=settings.versions_kept).publish(parts, about)


def network(settings: Settings, seed: int, classes: int) -> torch.nn.Module:
    """The network of one seed."""
    return catalogue.build(settings.network, classes, seed=seed)


@torch.inference_mode()
def probabilities(settings: Settings, seed: int, images: Pixels, classes: int = 3) -> Any:
    """What a version of that seed must answer, computed here: float32 [N, classes]."""
    x = to_float(torch.from_numpy(np.array(images)), settings.pixel_mean, settings.pixel_std)
    return torch.softmax(network(settings, seed, classes)(x), 1).numpy()
