"""Settings of the network."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from learndrop.settings.group import Group


class NetworkSettings(Group):
    """The network, and what a picture becomes before it is shown to it."""

    network: str = "small-resnet10"
    """`small-resnet10`, `small-resnet18` (ours, for small images), a torchvision classifier, or
    `timm:NAME` where timm is installed."""
    weights: str = ""
    """First weights: empty for random, a .safetensors file, or `torchvision` for its own."""
    image_size: int = Field(32, ge=8, le=1024)
    """Side of the square that every picture becomes, in pixels."""
    pixel_mean: tuple[float, float, float] = (125.0, 123.0, 114.0)
    """Subtracted from R, G, B (0 to 255)."""
    pixel_std: tuple[float, float, float] = (63.0, 62.0, 66.0)
    """Divides R, G, B after the mean is taken off."""
    fit: Literal["crop", "pad", "squash"] = "crop"
    """How a picture that is not square becomes one: centre crop, black bars, or distortion."""
    classes: tuple[str, ...] = ()
    """Labels in a fixed order, as a JSON list; others are added as they arrive."""
    max_classes: int = Field(1000, ge=2, le=100_000)
    """Labels the head may grow to; a sample with one more is buried."""
