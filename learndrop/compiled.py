"""What is in training, compiled with torch.compile if wanted; plain where that fails."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext
from typing import cast

import torch
from torch import Tensor, nn

from learndrop.units import Chain

log = logging.getLogger(__name__)


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
        self._compiled = torch.compile(_Units(chain, cut)) if compiled else None

    @property
    def is_compiled(self) -> bool:
        """Whether it was to be compiled, and that has not failed."""
        return self._compiled is not None

    def __call__(self, maps: Tensor) -> Tensor:
        """Outputs [N, classes] of maps [N, ...] that enter the cut."""
        if self._compiled is not None:
            try:
                return cast(Tensor, self._compiled(maps))
            except RuntimeError as exc:  # all of torch.compile's own errors are
                told = str(exc).partition("\n")[0]
                log.warning("compile is given up, steps are run as they are: %s", told)
                self._compiled = None
        return self._chain.tail(maps, self._cut)

    def during_step(self) -> AbstractContextManager[object]:
        """To be entered for forward and backward, both of which compile when they are first run.

        torch would take what others compiled from a folder in /tmp, by pickle: here each process
        compiles for itself.
        """
        if self._compiled is None:
            return nullcontext()
        patched: AbstractContextManager[object] = torch.compiler.config.patch(  # type: ignore[attr-defined]
            force_disable_caches=True
        )
        return patched
