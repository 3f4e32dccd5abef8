"""Pictures moved a little and mirrored, so that a fixed set is not seen twice just so."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from learndrop.networks.transfer import to_device


def crop_and_flip(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Each image moved by up to an eighth of its side either way, black coming in, and half of
    them mirrored, where the images lie.

    Args:
        images: uint8 [N, S, S, 3]; left as they are.
        rng: draws moves and mirrors, the same on every device.
    """
    n, side = images.shape[:2]
    shift = side // 8
    reach = np.arange(side)
    rows = rng.integers(0, 2 * shift + 1, (n, 1)) + reach
    columns = rng.integers(0, 2 * shift + 1, (n, 1)) + reach
    mirrored = rng.random(n) < 0.5
    columns[mirrored] = columns[mirrored, ::-1]
    wide = side + 2 * shift
    padded = torch.nn.functional.pad(images, (0, 0, shift, shift, shift, shift))
    # one row of pixels for each picture and place: a single index says where each comes from
    places = (np.arange(n)[:, None, None] * wide + rows[:, :, None]) * wide + columns[:, None, :]
    chosen = to_device(places.reshape(-1), images.device)
    return padded.view(-1, images.shape[3])[chosen].view(images.shape)
