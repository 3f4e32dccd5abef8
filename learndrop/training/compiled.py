"""What is in training, compiled with torch.compile if wanted; plain where that fails."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from learndrop.networks.units import Chain

log = logging.getLogger(__name__)
Run = Callable[[Tensor], Tensor]
T = TypeVar("T")


class _Units(nn.Module):
    """The units from a cut on as one module: what torch.compile makes a graph of."""

    def __init__(self, chain: Chain, cut: int) -> None:
        super().__init__()
        self.units = nn.ModuleList(u.module for u in chain.units[cut:])

    def forward(self, x: Tensor) -> Tensor:
        for unit in self.units:
            x = unit(x)
        return x


class Tail:
    """The units from a cut on; compiled if wanted, and plain for good where that fails.

    Args:
        chain: the whole network.
        cut: the first unit that is in training.
        compiled: whether to compile it, which takes seconds at the first step.
    """

    def __init__(self, chain: Chain, cut: int, *, compiled: bool) -> None:
        self._chain, self._cut = chain, cut
        self._parameters = [p for u in chain.units[cut:] for p in u.module.parameters()]
        self._compiled: Run | None = None
        if compiled:
            try:
                self._compiled = torch.compile(_Units(chain, cut))
            except RuntimeError as exc:  # as where torch does not compile for this Python
                _give_up(exc)

    @property
    def is_compiled(self) -> bool:
        """Whether it was to be compiled, and that has not failed."""
        return self._compiled is not None

    def is_of(self, cut: int, parameters: Sequence[Tensor]) -> bool:
        """Whether it still serves for this cut and these parameters."""
        mine = self._parameters
        return (
            cut == self._cut
            and len(parameters) == len(mine)
            and all(a is b for a, b in zip(parameters, mine, strict=True))
        )

    def step(self, work: Callable[[Run], T]) -> T:
        """Do `work`, a step forward and back, with what runs maps [N, ...] through the units.

        Both ways are compiled when they are first gone. torch would take what others compiled from
        a folder in /tmp, by pickle: here each process compiles for itself.
        """
        if self._compiled is not None:
            try:
                # torch puts `patch` into this module as it is imported
                with torch.compiler.config.patch(force_disable_caches=True):  # type: ignore[attr-defined]
                    return work(self._compiled)
            except RuntimeError as exc:  # all of torch.compile's own errors are
                _give_up(exc)
                self._compiled = None
        return work(self._plain)

    def _plain(self, maps: Tensor) -> Tensor:
        return self._chain.tail(maps, self._cut)


def _give_up(exc: Exception) -> None:
    told = str(exc).partition("\n")[0]
    log.warning("compile is given up, steps are run as they are: %s", told)
