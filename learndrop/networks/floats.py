"""Images as the floats that a network takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learndrop.networks.transfer import to_device
from learndrop.settings import Settings

Floats = Callable[[NDArray[np.uint8] | Tensor], Tensor]


class Inputs:
    """Makes the network's input of images.

    Args:
        settings: mean and deviation of the pixels that the network expects.
        device: where the network lives.
        memory_format: of its images.
    """

    def __init__(
        self, settings: Settings, device: torch.device, memory_format: torch.memory_format
    ) -> None:
        self._mean, self._std = settings.pixel_mean, settings.pixel_std
        self._device, self._memory_format = device, memory_format

    def __call__(self, images: NDArray[np.uint8] | Tensor) -> Tensor:
        """Images [N, S, S, 3] uint8, an array or on the device, as [N, 3, S, S] float32."""
        there = images if isinstance(images, Tensor) else to_device(images, self._device)
        x = to_float(there, self._mean, self._std)
        return x.contiguous(memory_format=self._memory_format)


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
    shift, scale = _scaling(tuple(mean), tuple(std), x.device)
    return x.sub_(shift).div_(scale).to(dtype).contiguous(memory_format=memory_format)


@lru_cache(maxsize=8)
def _scaling(
    mean: tuple[float, ...], std: tuple[float, ...], device: torch.device
) -> tuple[Tensor, Tensor]:
    """Both as float32 [1, 3, 1, 1] on the device, once: each copy there would wait for it."""
    shift, scale = (torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (mean, std))
    return shift, scale
