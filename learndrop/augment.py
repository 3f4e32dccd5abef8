"""Pictures moved a little and mirrored, so that a fixed set is not seen twice just so."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def crop_and_flip(images: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Each image moved by up to an eighth of its side either way, black coming in, and half of
    them mirrored.

    Args:
        images: uint8 [N, S, S, 3]; left as they are.
        rng: draws moves and mirrors.
    """
    n, side = images.shape[:2]
    shift = side // 8
    edges = ((0, 0), (shift, shift), (shift, shift), (0, 0))
    padded: NDArray[np.uint8] = np.pad(images, edges)
    reach = np.arange(side)
    rows = rng.integers(0, 2 * shift + 1, (n, 1)) + reach
    columns = rng.integers(0, 2 * shift + 1, (n, 1)) + reach
    mirrored = rng.random(n) < 0.5
    columns[mirrored] = columns[mirrored, ::-1]
    moved = padded[np.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return np.asarray(moved, np.uint8)
