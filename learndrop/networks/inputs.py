"""Images as the network takes them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learndrop.networks import catalogue
from learndrop.networks.transfer import to_device
from learndrop.settings import Settings


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
        x = catalogue.to_float(there, self._mean, self._std)
        return x.contiguous(memory_format=self._memory_format)
