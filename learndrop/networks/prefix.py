"""Which weights and statistics lie below a cut: a map is only as good as those that made it."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from learndrop.networks.chain import Chain


def prefix_hash(chain: Chain, cut: int) -> str:
    """Hash of weights and statistics of the units below the cut."""
    digest = hashlib.sha256()
    for unit in chain.units[:cut]:
        for name, value in sorted(unit.module.state_dict().items()):
            digest.update(name.encode())
            dense = value.detach().cpu().contiguous().reshape(-1)
            digest.update(dense.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


class Writes:
    """Tells when a weight or statistic below a cut was written to: torch counts that, and the hash
    need not be taken anew where nothing was."""

    def __init__(self) -> None:
        self._below: list[Tensor] = []
        self._counts: list[int] | None = None

    def watch(self, chain: Chain, cut: int) -> None:
        """From now on, below that cut."""
        modules = [unit.module for unit in chain.units[:cut]]
        self._below = [t for m in modules for t in (*m.parameters(), *m.buffers())]
        self._counts = self._now()

    @property
    def any(self) -> bool:
        """Whether there was one since `watch`; also where that was never called."""
        return self._counts != self._now()

    def _now(self) -> list[int]:
        return [tensor._version for tensor in self._below]
