"""Feature maps as bytes and back: codecs behind one protocol, exchangeable by name.

Every codec makes rows of a fixed number of bytes, so that a store of rows has a bound that can be
counted. What a codec has to know of the maps (scales, a basis) it learns from the first of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from learndrop.features.klt import Klt, fits

FIRST = 32  # maps from which scales are taken
MOST_SHARE = 2.0  # bytes of a map for each byte of the picture, at most, unless a codec is named
EXACT = "bf16"  # no look has ever told it from the maps themselves


class Codec(Protocol):
    """Maps of one shape as rows of bytes.

    Attributes:
        name: by which it is chosen.
        row_bytes: of one map.
        ready: whether enough maps were seen to encode some.
    """

    name: str
    row_bytes: int

    @property
    def ready(self) -> bool: ...

    def observe(self, maps: Tensor) -> None:
        """Learn from the first maps float [N, ...]; nothing once it is ready."""
        ...

    def encode(self, maps: Tensor) -> Tensor:
        """uint8 [N, row_bytes] of maps float [N, ...], on their device."""
        ...

    def decode(self, rows: Tensor) -> Tensor:
        """float32 maps [N, ...] of rows uint8 [N, row_bytes], on their device."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """What it has learned, for a checkpoint."""
        ...

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take back what `tensors` gave; they lie where the codec is to work."""
        ...


class Bf16:
    """bfloat16: half of float32, eight bits of precision, any range."""

    name = "bf16"
    ready = True

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._shape = shape
        self.row_bytes = 2 * math.prod(shape)

    def observe(self, maps: Tensor) -> None:
        """There is nothing to learn."""

    def encode(self, maps: Tensor) -> Tensor:
        return maps.to(torch.bfloat16).reshape(len(maps), -1).view(torch.uint8)

    def decode(self, rows: Tensor) -> Tensor:
        return rows.view(torch.bfloat16).float().view(-1, *self._shape)

    def tensors(self) -> dict[str, Tensor]:
        return {}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """There is nothing to take back."""


class Int8:
    """256 even steps between the least and the largest value that a channel had at first.

    The first axis of a map is taken for its channels. What lies outside later is clipped, so there
    is a quarter more on top, and below where there are negative values.
    """

    name = "int8"

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._shape = shape
        self.row_bytes = math.prod(shape)
        self._seen = 0
        self._low, self._high = torch.zeros(0), torch.zeros(0)

    @property
    def ready(self) -> bool:
        return self._seen >= FIRST

    def observe(self, maps: Tensor) -> None:
        if self.ready or not len(maps):
            return
        values = maps.detach().float().transpose(0, 1).reshape(self._shape[0], -1)
        low, high = values.amin(1), values.amax(1)
        if self._seen:
            low, high = torch.minimum(low, self._low), torch.maximum(high, self._high)
        self._low, self._high = low, high
        self._seen += len(maps)

    def encode(self, maps: Tensor) -> Tensor:
        low, step = self._scales()
        levels = maps.float().sub(low).div_(step).round_().clamp_(0, 255)
        return levels.to(torch.uint8).reshape(len(maps), -1)

    def decode(self, rows: Tensor) -> Tensor:
        low, step = self._scales()
        return rows.view(-1, *self._shape).float().mul_(step).add_(low)

    def _scales(self) -> tuple[Tensor, Tensor]:
        """Least value and step of each channel, in the shape of a map."""
        shape = (-1, *[1] * (len(self._shape) - 1))
        more = (self._high - self._low) / 4
        low = torch.where(self._low < 0, self._low - more, self._low)
        step = (self._high + more - low).clamp_min(1e-8) / 255
        return low.view(shape), step.view(shape)

    def tensors(self) -> dict[str, Tensor]:
        return {"seen": torch.tensor(self._seen), "low": self._low, "high": self._high}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        self._seen = int(tensors["seen"])
        self._low, self._high = tensors["low"], tensors["high"]


@dataclass(frozen=True, slots=True)
class Row:
    """A codec in the table.

    Attributes:
        name: as the setting `feature_codec` and checkpoints have it.
        make: a new one for maps of a shape; one that can choose its bytes takes at most so many.
        takes: whether maps of that shape can be encoded so.
    """

    name: str
    make: Callable[[tuple[int, ...], int], Codec]
    takes: Callable[[tuple[int, ...]], bool] = lambda shape: True


CODECS = (
    Row("bf16", lambda shape, most: Bf16(shape)),
    Row("int8", lambda shape, most: Int8(shape)),
    Row("klt", Klt, takes=fits),
)


def make(name: str, shape: tuple[int, ...], image_size: int) -> Codec:
    """A new codec for maps of one shape; int8 in place of one that cannot take them, or whose name
    only a younger learndrop knows.

    Args:
        name: of a row.
        shape: of one map, channels first.
        image_size: side of the pictures that they are made of, in pixels.
    """
    for row in CODECS:
        if row.name == name and row.takes(shape):
            return row.make(shape, _most_bytes(image_size))
    return Int8(shape)


def by_bytes(shape: tuple[int, ...], image_size: int) -> list[str]:
    """Names of the codecs for maps of that shape, from the fewest bytes to the most; without those
    that hold more than `MOST_SHARE` of the pictures' bytes, from which a map can be made anew.

    >>> by_bytes((32, 16, 16), 32), by_bytes((32, 8, 8), 32), by_bytes((512,), 32)
    (['klt'], ['klt', 'int8', 'bf16'], ['int8', 'bf16'])
    """
    most = _most_bytes(image_size)
    sizes = {row.name: row.make(shape, most).row_bytes for row in CODECS if row.takes(shape)}
    return sorted((name for name in sizes if sizes[name] <= most), key=lambda name: sizes[name])


def _most_bytes(image_size: int) -> int:
    """`MOST_SHARE` of the bytes of a picture [3, image_size, image_size]."""
    return int(MOST_SHARE * 3 * image_size**2)
