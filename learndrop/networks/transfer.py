"""Takes arrays of the host to where a network lives, and waits for what is computed there."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def to_device(array: NDArray[Any], device: torch.device) -> Tensor:
    """An array as a tensor on the device.

    To a GPU it goes through pinned memory and beside what the GPU still computes: nobody waits, as
    with a plain copy, until all that came before is done. On a CPU it is the array's own memory.
    """
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def wait_for(device: torch.device) -> None:
    """Until all that was asked of a GPU is done, so that a clock tells what it took."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
