"""Pictures to the network's input: as many of them at once as a turn is enough for.

In the service for pixels, in a decoder's process for files. So nothing is imported here that those
do not need.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from learndrop.errors import BadPicture, TooLong
from learndrop.images.pictures import Fit, PictureLimits, Pixels, array_to_input, to_input

Picture = bytes | bytearray | NDArray[np.uint8]
"""An encoded picture, or its pixels: uint8 [H, W, 3] or grey [H, W]."""
TURN_S = 0.05
"""A request's pictures are worked on this long, one at least, before others have their turn."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What every picture becomes: a square of `size` pixels, fitted in one way."""

    size: int
    fit: Fit


def inputs(
    pictures: Sequence[Picture],
    shape: Shape,
    limits: PictureLimits,
    left_s: float,
    *,
    first: int = 0,
) -> list[Pixels]:
    """The first of these pictures as uint8 [size, size, 3], as many as TURN_S is enough for.

    Args:
        pictures: the rest of a batch.
        shape: what they become.
        limits: the largest that is decoded.
        left_s: seconds that they may take.
        first: which picture of the batch the first one is.

    Raises:
        BadPicture: with the index of the first one that cannot be used.
        TooLong: if one is not decoded within `left_s`; names it.
    """
    made: list[Pixels] = []
    began = time.perf_counter()
    for index, picture in enumerate(pictures, first):
        spent_s = time.perf_counter() - began
        if made and spent_s > TURN_S:
            break
        try:
            made.append(_input(picture, shape, limits, left_s - spent_s))
        except TooLong as exc:
            raise TooLong(
                f"picture {index} was still being decoded after {limits.max_s:g} s for all",
                item=f"images[{index}]",
                limit=limits.max_s,
            ) from exc
        except BadPicture as exc:
            raise BadPicture(
                f"picture {index}: {exc}", index=index, limit=exc.limit, value=exc.value
            ) from exc
    return made


def _input(picture: Picture, shape: Shape, limits: PictureLimits, left_s: float) -> Pixels:
    if isinstance(picture, np.ndarray):
        return array_to_input(picture, size=shape.size, fit=shape.fit)
    return to_input(picture, size=shape.size, fit=shape.fit, limits=limits, most_s=left_s)
