"""Weights of worlds that have ended: when one of them comes back, so do they.

A drift may lead to a world that was there before (night and day, two suppliers). Then weights that
were learned in it fit better at once than anything that a reset could learn anew. They are tried on
the first samples of the new world, and taken only if they answer these better than the present
ones by more than two standard errors of the difference, and about as well as the world that they
are of: in a world that is new to both, the lesser evil is none of the old ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from learndrop.networks.chain import Chain
from learndrop.networks.heads import with_rows_since
from learndrop.standard_error import error_of_difference, standard_error

FITS = 0.9  # of the accuracy that a world ended with


@dataclass
class Ended:
    """One world that has ended.

    Attributes:
        world: its number, as the replay buffer counts.
        begin, end: samples learned when it began and ended.
        accuracy: of its newest answers.
        cut: units that were out of training at its end.
        weights: all weights and statistics at its end, by name, on the CPU.
    """

    world: int
    begin: int
    end: int
    accuracy: float
    cut: int
    weights: dict[str, Tensor] = field(default_factory=dict)


class Earlier:
    """The newest worlds that have ended, at most `most` and at most `max_bytes` of weights.

    Weights are kept in bfloat16, statistics and biases as they are: a come-back is tried on samples
    and trained on, so the last bits of a weight decide nothing.
    """

    def __init__(self, most: int, max_bytes: int) -> None:
        self.most, self.max_bytes = most, max_bytes
        self.worlds: list[Ended] = []  # oldest first

    @property
    def nbytes(self) -> int:
        """Bytes of the weights held now."""
        return sum(_bytes(w.weights) for w in self.worlds)

    def keep(self, ended: Ended, weights: Mapping[str, Tensor]) -> None:
        """Take the weights of a world that ends; the oldest give way."""
        if not self.most:
            return
        kept = {n: t.detach().to("cpu", kept_as(t), copy=True) for n, t in weights.items()}
        size = _bytes(kept)
        if size > self.max_bytes:
            return
        held = self.nbytes
        while self.worlds and (len(self.worlds) >= self.most or held + size > self.max_bytes):
            held -= _bytes(self.worlds.pop(0).weights)
        ended.weights = kept
        self.worlds.append(ended)

    def take(self, ended: Ended) -> Ended:
        """A world that has come back is one that has ended no more."""
        self.worlds = [w for w in self.worlds if w is not ended]
        return ended

    def tensors(self) -> dict[str, Tensor]:
        """The weights, for a checkpoint."""
        return {f"{w.world}.{name}": t for w in self.worlds for name, t in w.weights.items()}

    def to_json(self) -> list[dict[str, Any]]:
        """The rest of the state, for a checkpoint."""
        return [{k: v for k, v in asdict(w).items() if k != "weights"} for w in self.worlds]

    def load(self, tensors: Mapping[str, Tensor], data: Sequence[Mapping[str, Any]]) -> None:
        """Take back what `tensors` and `to_json` gave."""
        self.worlds = [Ended(**row) for row in data]
        for ended in self.worlds:
            mine = f"{ended.world}."
            ended.weights = {
                n.removeprefix(mine): t for n, t in tensors.items() if n.startswith(mine)
            }


def kept_as(tensor: Tensor) -> torch.dtype:
    """bfloat16 for a matrix or a kernel, for all else what it is.

    >>> kept_as(torch.ones(2, 2)), kept_as(torch.ones(2))
    (torch.bfloat16, torch.float32)
    """
    wide = tensor.ndim > 1 and tensor.is_floating_point()
    return torch.bfloat16 if wide else tensor.dtype


def fits_better(earlier: float, present: float, n: int) -> bool:
    """Whether a share right of n beats another by more than two standard errors.

    >>> fits_better(0.9, 0.5, 64), fits_better(0.55, 0.5, 64)
    (True, False)
    """
    return earlier - present > 2 * error_of_difference((earlier + present) / 2, n)


def is_back(ended: Ended, share: float, n: int) -> bool:
    """Whether a world's weights answer n samples about as well as they did when it ended.

    >>> ended = Ended(world=0, begin=0, end=2000, accuracy=0.8, cut=3)
    >>> is_back(ended, 0.7, 128), is_back(ended, 0.43, 128)
    (True, False)
    """
    return share + 2 * standard_error(share, n) >= FITS * ended.accuracy


def restored(chain: Chain, weights: Mapping[str, Tensor]) -> None:
    """Give the chain these weights; rows of the head that came since stay as they are."""
    chain.load_state_dict(with_rows_since(weights, chain.state_dict()))


def _bytes(weights: Mapping[str, Tensor]) -> int:
    return sum(t.numel() * t.element_size() for t in weights.values())
