"""Builds the network that a setting names, and knows its head.

`small-resnet10` and `small-resnet18` are ours, for small images; every other name is a torchvision
classifier. Nothing here reads a pickle of ours: first weights come from a safetensors file, or from
torchvision's own download (hash checked, tensors only).
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast
from urllib.error import URLError

import torch
import torchvision
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock
from torchvision.models.vision_transformer import VisionTransformer, interpolate_embeddings

from learndrop.errors import BadNetwork

log = logging.getLogger(__name__)

SMALL_RESNETS: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    # name: blocks and width of each stage
    "small-resnet10": ((1, 1, 1, 1), (16, 32, 64, 128)),
    "small-resnet18": ((2, 2, 2, 2), (32, 64, 128, 256)),
}

# torchvision: these add outputs of their own in training, and take minutes for their first weights.
WITHOUT_SIDE_HEADS = {"aux_logits": False, "init_weights": False}


class SmallResNet(nn.Module):
    """A ResNet for small images: 3x3 stem of stride 1, no max pool, torchvision's names."""

    def __init__(self, blocks: Sequence[int], widths: Sequence[int], n_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU(inplace=True)
        before = widths[0]
        for stage, (count, width) in enumerate(zip(blocks, widths, strict=True), 1):
            stride = 1 if stage == 1 else 2
            self.add_module(f"layer{stage}", _stage(before, width, count, stride))
            before = width
        self.stages = len(blocks)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(before, n_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Logits [N, n_classes] of images float [N, 3, H, W]."""
        x = self.relu(self.bn1(self.conv1(x)))
        for stage in range(1, self.stages + 1):
            x = self.get_submodule(f"layer{stage}")(x)
        return cast(Tensor, self.fc(torch.flatten(self.avgpool(x), 1)))


def _stage(before: int, width: int, count: int, stride: int) -> nn.Sequential:
    shortcut = None
    if stride != 1 or before != width:
        shortcut = nn.Sequential(
            nn.Conv2d(before, width, 1, stride, bias=False), nn.BatchNorm2d(width)
        )
    first = BasicBlock(before, width, stride, shortcut)
    return nn.Sequential(first, *(BasicBlock(width, width) for _ in range(count - 1)))


def known_networks() -> list[str]:
    """Every name that `build` takes."""
    return [*SMALL_RESNETS, *torchvision.models.list_models(module=torchvision.models)]


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
    if name not in known_networks():
        near = difflib.get_close_matches(name.lower(), known_networks(), n=3, cutoff=0.0)
        raise BadNetwork(f"no network is called {name!r}; near: {', '.join(near)}")
    if n_classes < 1:
        raise BadNetwork(f"a network needs 1 class or more, not {n_classes}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _make(name, n_classes, image_size)
    if weights:
        _load_weights(model, name, weights)
    model.eval()
    if image_size is not None:
        check_image_size(model, name, image_size)
    return model


def _make(name: str, n_classes: int, image_size: int | None) -> nn.Module:
    if name in SMALL_RESNETS:
        return SmallResNet(*SMALL_RESNETS[name], n_classes)
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
        raise BadNetwork(
            f"{name} cannot take images of {image_size} px: too small for its strides or windows"
            f" ({str(exc).splitlines()[0]})"
        ) from exc


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
            mean = old.mean(0, keepdim=True)
            rows = torch.cat([old, mean.expand(more, *old.shape[1:])])
        setattr(layer, name, nn.Parameter(rows, requires_grad=old.requires_grad))
    if isinstance(layer, nn.Linear):
        layer.out_features = n_classes
    else:
        layer.out_channels = n_classes


def to_float(
    images: Tensor,
    mean: Sequence[float],
    std: Sequence[float],
    *,
    dtype: torch.dtype = torch.float32,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> Tensor:
    """uint8 [N, H, W, 3] to the network's input: (RGB - mean) / std as `dtype` [N, 3, H, W]."""
    # [N, H, W, 3] seen as [N, 3, H, W] is channels_last already: no copy is made for it.
    x = images.permute(0, 3, 1, 2).to(torch.float32)
    shape = (1, 3, 1, 1)
    x = x.sub_(x.new_tensor(mean).view(shape)).div_(x.new_tensor(std).view(shape))
    return x.to(dtype).contiguous(memory_format=memory_format)


def _load_weights(model: nn.Module, name: str, weights: str) -> None:
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
    # Old files lack the counter of batches, which only cumulative averages would need.
    missing = [k for k in own if k not in state and "num_batches_tracked" not in k]
    missing = [k for k in missing if not (fresh and k in of_head)]
    strange = [k for k in state if k not in own]
    other = [k for k in state if k in own and state[k].shape != own[k].shape]
    for what, keys in (("lack", missing), ("hold unknown", strange)):
        if keys:
            raise BadNetwork(f"weights {weights} {what} {_some(keys)}: not of {name}")
    if other:
        told = [f"{k} {tuple(state[k].shape)} instead of {tuple(own[k].shape)}" for k in other]
        raise BadNetwork(f"weights {weights} have {_some(told)}: not of {name}")
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
    if name in SMALL_RESNETS:
        raise BadNetwork(f"torchvision has no weights for {name}")
    default = torchvision.models.get_model_weights(name).DEFAULT
    try:
        state = default.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (URLError, OSError, RuntimeError) as exc:
        raise BadNetwork(f"torchvision's weights for {name} cannot be fetched: {exc}") from exc
    kept = {k: v for k, v in state.items() if "aux" not in k.split(".")[0].lower()}
    if isinstance(model, VisionTransformer):
        kept = interpolate_embeddings(model.image_size, model.patch_size, kept)
    return kept
