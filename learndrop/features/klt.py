"""A codec for big maps: small blocks of all channels in their principal axes, few bits for each.

Block transform coding with the Karhunen-Loeve transform (Huang and Schultheiss 1963), as JPEG does
with the cosine transform: neighbouring places and channels of a map tell much the same, so a block
is turned into the directions in which the first maps varied most, and each gets 8, 4 or no bits, so
that what is left out is alike in all (reverse water-filling). Turning there and back is one strided
convolution each way.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

MOST_AXES = 256  # of a block: what its covariance costs grows with the square
LEAST_MAPS, MOST_MAPS = 64, 256  # from which the axes are taken
REACH_8, REACH_4 = 8.0, 3.0  # standard deviations that the steps reach to; beyond is clipped
HALF_8, HALF_4 = 127, 7  # steps to either side, with 0 between


def fits(shape: tuple[int, ...]) -> bool:
    """Whether maps of that shape can be taken apart so.

    >>> fits((32, 32, 32)), fits((256, 4, 4)), fits((512,)), fits((1024, 7, 7))
    (True, True, False, False)
    """
    return len(shape) == 3 and 2 <= shape[0] <= MOST_AXES and shape[1] * shape[2] > 1


class Klt:
    """Maps [C, H, W] in at most `max_bytes`.

    Args:
        shape: of one map, for which `fits` must hold.
        max_bytes: most bytes of a row; half a byte for each number is never passed either.
    """

    name = "klt"

    def __init__(self, shape: tuple[int, ...], max_bytes: int) -> None:
        self._shape = channels, height, width = (shape[0], shape[1], shape[2])
        even = height % 2 == 0 and width % 2 == 0
        self._side = 2 if even and 4 * channels <= MOST_AXES else 1
        self._axes = channels * self._side**2
        self._grid = height // self._side, width // self._side
        self._blocks = math.prod(self._grid)
        most = min(max_bytes, math.prod(shape) // 2)
        self._block_bytes = max(1, most // self._blocks)
        self.row_bytes = self._blocks * self._block_bytes
        self._needed = min(MOST_MAPS, max(LEAST_MAPS, 16 * self._axes // self._blocks))
        self._seen = 0
        self._bytes_8 = 0
        self._sums: dict[str, Tensor] = {}
        self._basis, self._steps = torch.zeros(0), torch.zeros(0)
        self._mean, self._least = torch.zeros(0), torch.zeros(0)

    @property
    def ready(self) -> bool:
        return self._seen >= self._needed

    def observe(self, maps: Tensor) -> None:
        if self.ready or not len(maps):
            return
        maps = maps.detach().float()
        blocks = nn.functional.unfold(maps, self._side, stride=self._side)  # [N, axes, blocks]
        flat = blocks.transpose(0, 1).reshape(self._axes, -1).double()
        new = {
            "sum": flat.sum(1),
            "outer": flat @ flat.T,
            "least": maps.transpose(0, 1).reshape(self._shape[0], -1).amin(1),
        }
        old = self._sums
        if old:
            new = {
                "sum": old["sum"] + new["sum"],
                "outer": old["outer"] + new["outer"],
                "least": torch.minimum(old["least"], new["least"]),
            }
        self._sums = new
        self._seen += len(maps)
        if self._seen >= self._needed:
            self._learn()

    def _learn(self) -> None:
        count = self._seen * self._blocks
        channels = self._shape[0]
        # one mean a channel, wherever in a block: a convolution can add it
        by_axis = (self._sums["sum"] / count).view(channels, -1).mean(1)
        mean = by_axis.repeat_interleave(self._side**2)
        cross = torch.outer(mean, self._sums["sum"]) / count
        covariance = self._sums["outer"] / count - cross - cross.T + torch.outer(mean, mean)
        values, vectors = torch.linalg.eigh(covariance)
        variances = values.flip(0).clamp_min(1e-12)
        self._bytes_8, nibbles = shared_bits(variances.tolist(), self._block_bytes)
        kept = self._bytes_8 + nibbles
        deviations = variances[:kept].sqrt().float()
        reach = torch.full_like(deviations, REACH_4 / HALF_4)
        reach[: self._bytes_8] = REACH_8 / HALF_8
        self._steps = (deviations * reach).view(-1, 1, 1)
        basis = vectors.flip(1)[:, :kept].T.float().contiguous()
        self._basis = basis.view(kept, channels, self._side, self._side)
        self._mean = by_axis.float().view(-1, 1, 1)
        self._least = self._sums["least"].view(-1, 1, 1)
        self._sums = {}

    def encode(self, maps: Tensor) -> Tensor:
        n, at = len(maps), self._bytes_8
        centred = maps.float() - self._mean
        turned = nn.functional.conv2d(centred, self._basis, stride=self._side)
        levels = turned.div_(self._steps).round_()
        whole = levels[:, :at].clamp(-HALF_8, HALF_8).add_(HALF_8)
        half = levels[:, at:].clamp(-HALF_4, HALF_4).add_(HALF_4).to(torch.uint8)
        pairs = half[:, 0::2] * 16 + half[:, 1::2]
        return torch.cat([whole.to(torch.uint8), pairs], 1).reshape(n, self.row_bytes)

    def decode(self, rows: Tensor) -> Tensor:
        at = self._bytes_8
        taken = rows.view(-1, self._block_bytes, *self._grid)
        levels = torch.empty(
            (len(rows), len(self._steps), *self._grid), dtype=torch.float32, device=rows.device
        )
        levels[:, :at] = taken[:, :at].float().sub_(HALF_8)
        levels[:, at::2] = (taken[:, at:] // 16).float().sub_(HALF_4)
        levels[:, at + 1 :: 2] = (taken[:, at:] % 16).float().sub_(HALF_4)
        maps = nn.functional.conv_transpose2d(
            levels.mul_(self._steps), self._basis, stride=self._side
        )
        # nothing lies under what was seen of its channel: behind a ReLU the zeros are exact again
        return torch.maximum(maps.add_(self._mean), self._least)

    def tensors(self) -> dict[str, Tensor]:
        known = {
            "basis": self._basis,
            "steps": self._steps,
            "mean": self._mean,
            "low": self._least,
            "counts": torch.tensor([self._seen, self._bytes_8]),
        }
        return known | {f"sums.{name}": tensor for name, tensor in self._sums.items()}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        self._basis, self._steps = tensors["basis"], tensors["steps"]
        self._mean, self._least = tensors["mean"], tensors["low"]
        self._seen, self._bytes_8 = tensors["counts"].tolist()
        self._sums = {
            name.removeprefix("sums."): tensor
            for name, tensor in tensors.items()
            if name.startswith("sums.")
        }


def shared_bits(variances: list[float], block_bytes: int) -> tuple[int, int]:
    """How many of the axes, the widest first, get 8 bits, and how many of the next get 4.

    Four bits more make what is lost of an axis 256 times smaller; they go, two axes at a time
    (nibbles come in pairs), where most is lost. All bytes are used.

    >>> shared_bits([1000.0, 1.0, 1.0, 1.0, 1.0, 1.0], 3)
    (2, 2)
    >>> shared_bits([1.0, 1.0, 1.0, 1.0], 2)
    (0, 4)
    """
    whole, nibbles = 0, 0
    for _ in range(block_bytes):
        wider = variances[whole : whole + 2]
        gain_whole = sum(wider) / 256 if nibbles >= 2 and len(wider) == 2 else -1.0
        new = variances[whole + nibbles : whole + nibbles + 2]
        gain_new = sum(new) if len(new) == 2 else -1.0
        if gain_new >= gain_whole:
            nibbles += 2
        else:
            whole, nibbles = whole + 2, nibbles - 2
    return whole, nibbles
