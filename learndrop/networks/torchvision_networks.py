"""torchvision's classifiers by name, and the weights that it offers for them.

Imported only where one of them is wanted: with torch's compiler, which it pulls in, it takes as
long to import as torch itself.
"""

from __future__ import annotations

from typing import Any, cast
from urllib.error import URLError

import torchvision
from torch import Tensor, nn
from torchvision.models.vision_transformer import VisionTransformer, interpolate_embeddings

from learndrop.errors import BadNetwork

# These add outputs of their own in training, and take minutes for their first weights.
WITHOUT_SIDE_HEADS = {"aux_logits": False, "init_weights": False}


def names() -> list[str]:
    """Every name that `make` takes."""
    return cast(list[str], torchvision.models.list_models(module=torchvision.models))


def make(name: str, n_classes: int, image_size: int | None) -> nn.Module:
    """Build one of `names` with random first weights.

    Raises:
        BadNetwork: if it cannot be built for images of that size.
    """
    maker = torchvision.models.get_model_builder(name)
    options: dict[str, Any] = {"num_classes": n_classes}
    if name in {"googlenet", "inception_v3"}:
        options |= WITHOUT_SIDE_HEADS
    if image_size is not None and name.startswith("vit_"):
        options["image_size"] = image_size
    if image_size is not None and name.startswith("maxvit_"):
        options["input_size"] = (image_size, image_size)
    try:
        # Their functions take **kwargs, so a wrong one is told by the class they call.
        return cast(nn.Module, maker(weights=None, **options))
    except (AssertionError, ValueError, RuntimeError) as exc:
        raise BadNetwork(f"{name} cannot be built for images of {image_size} px: {exc}") from exc


def fetched(model: nn.Module, name: str) -> dict[str, Tensor]:
    """The weights that torchvision offers for a network, over the network, in this one's shapes.

    Its files are pickles: they are fetched with their hash checked and read as tensors only.

    Raises:
        BadNetwork: if there are none or they cannot be fetched.
    """
    if name not in names():
        raise BadNetwork(f"torchvision has no weights for {name}")
    default = torchvision.models.get_model_weights(name).DEFAULT
    try:
        state = default.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (URLError, OSError, RuntimeError) as exc:
        raise BadNetwork(f"torchvision's weights for {name} cannot be fetched: {exc}") from exc
    kept = {k: v for k, v in state.items() if "aux" not in k.split(".")[0].lower()}
    if isinstance(model, VisionTransformer):
        kept = dict(interpolate_embeddings(model.image_size, model.patch_size, kept))
    return kept
