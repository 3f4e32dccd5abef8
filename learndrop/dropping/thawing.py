"""Says when what is dropped trains again for a window, and what that window showed.

A unit that has settled is not finished: in training it would go on getting better, yet more slowly
than any few hundred answers can show. So now and then everything trains for one window, as a look
at what was dropped (aL-SAR, arXiv 2410.15143, looks at gradients only). Where a unit moves the way
it moved in the thaw before, thousands of samples ago, it has somewhere to go, and stays in training
until it settles anew; where the answers got worse, the weights of before come back. Each time that
finds nothing to learn doubles the wait for the next.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from learndrop.dropping.probation import Probation
from learndrop.dropping.rule import prefix
from learndrop.networks.chain import Chain
from learndrop.scores.scorer import cosine

MOST_DOUBLED = 5  # times: nothing is let be for ever


class Thawing:
    """The windows in which everything trains.

    Args:
        chain: the whole network.
        every: windows from a drop to the first thaw; 0 is never.
        low: persistence at most of a unit that has settled.

    Attributes:
        trial: the present thaw; None while what is dropped is dropped.
        count: thaws so far.
    """

    def __init__(self, chain: Chain, every: int, low: float) -> None:
        self._chain, self._every, self._low = chain, every, low
        self.trial: Probation | None = None
        self.count = 0
        self._waited = 0  # windows since the last one
        self._quiet = 0  # thaws in a row that found nothing to learn
        self._before: dict[str, Tensor] = {}  # weights and statistics when it began
        self._moved: dict[str, Tensor] = {}  # the displacements of the thaw before, by parameter

    def due(self) -> bool:
        """One more window has ended with units dropped: whether the next one is a thaw."""
        self._waited += 1
        return bool(self._every) and self._waited >= wait(self._every, self._quiet)

    def begin(self, cut: int, error: float, samples: int) -> None:
        """A thaw begins; `cut` is to come back after it."""
        self.trial, self._waited = Probation(cut, error, samples), 0
        self.count += 1
        self._before = {name: t.detach().clone() for name, t in self._dropped(cut).items()}

    def judge(self) -> tuple[dict[int, float], int]:
        """The window is over.

        Returns:
            how far each thawed unit moved as it did in the thaw before (-1 to 1), where there was
            one, and how many leading units have settled for all that this has shown. The next thaw
            is compared with this one's displacements.
        """
        scores = self._persistence()
        cut = self.trial.back_to if self.trial else 0
        found = prefix([scores.get(unit, 0.0) <= self._low for unit in range(cut)], keep=0)
        if found < cut:
            self._quiet = 0
        elif scores:
            self._quiet += 1
        self.end()
        return scores, found

    def _persistence(self) -> dict[int, float]:
        if self.trial is None:
            return {}
        last, self._moved = self._moved, {}
        found: dict[int, float] = {}
        for unit in self._chain.units[: self.trial.back_to]:
            names = [f"{unit.position}.{name}" for name, _ in unit.module.named_parameters()]
            now = [p.detach() for p in unit.module.parameters()]
            moved = torch._foreach_sub(now, [self._before[name] for name in names])
            # a direction needs no more bits; it is held for as long as nothing drifts
            self._moved.update(zip(names, [m.to(torch.bfloat16) for m in moved], strict=True))
            if names and all(name in last for name in names):
                before = [last[name].to(m.dtype) for name, m in zip(names, moved, strict=True)]
                found[unit.position] = float(cosine(moved, before))
        return found

    def take_back(self, *, harmed: bool) -> None:
        """End the thaw, and give what was dropped the weights and statistics that it had.

        Args:
            harmed: the answers got worse, so the next thaw is further.
        """
        if self.trial is not None:
            with torch.no_grad():
                for name, tensor in self._dropped(self.trial.back_to).items():
                    tensor.copy_(self._before[name])
        self._quiet += harmed
        self.end()

    def end(self) -> None:
        """The thaw is over, or what was dropped is no longer what it was."""
        self.trial, self._waited, self._before = None, 0, {}

    def forget(self) -> None:
        """A drift was taken in: how units moved before says nothing about what comes."""
        self.end()
        self._moved, self._quiet = {}, 0

    def _dropped(self, cut: int) -> dict[str, Tensor]:
        return {
            f"{unit.position}.{name}": tensor
            for unit in self._chain.units[:cut]
            for name, tensor in unit.module.state_dict().items()
        }

    def tensors(self) -> dict[str, Tensor]:
        """What it holds, for a checkpoint."""
        before = {f"before.{name}": tensor for name, tensor in self._before.items()}
        return before | {f"moved.{name}": tensor for name, tensor in self._moved.items()}

    def to_json(self) -> dict[str, Any]:
        """The rest of the state, for a checkpoint."""
        trial = asdict(self.trial) if self.trial else None
        return {
            "trial": trial,
            "count": self.count,
            "waited": self._waited,
            "quiet": self._quiet,
        }

    def load(self, tensors: Mapping[str, Tensor], data: Mapping[str, Any]) -> None:
        """Take back what `tensors` and `to_json` gave."""
        device = next(self._chain.parameters()).device
        parts: dict[str, dict[str, Tensor]] = {"before": {}, "moved": {}}
        for key, tensor in tensors.items():
            part, _, name = key.partition(".")
            parts[part][name] = tensor.to(device)
        self._before, self._moved = parts["before"], parts["moved"]
        self.trial = Probation(**data["trial"]) if data["trial"] else None
        self.count = data["count"]
        self._waited, self._quiet = data["waited"], data["quiet"]


def wait(every: int, quiet: int) -> int:
    """Windows to the next thaw, after so many in a row that found nothing to learn.

    >>> [wait(12, quiet) for quiet in (0, 1, 2, 3)]
    [12, 24, 48, 96]
    >>> wait(12, 99)
    384
    """
    return every << min(quiet, MOST_DOUBLED)
