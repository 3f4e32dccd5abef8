"""Keeps the last good weights, and says when a step must not count or they must come back.

A step whose loss is no number or over a bound is not taken (the trainer sees to that). Several
close together mean that the network itself is spoilt: its last good weights come back, and the rate
is halved for a while. Where even they give such a loss, the head starts anew: all classes alike.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from learndrop.networks.chain import Chain
from learndrop.networks.heads import head

NEWEST = 8  # steps
TOO_MANY = 3  # of the newest not taken: the weights come back
CALM = 16  # good windows, until a halved rate is doubled again
LEAST = 1 / 64  # the rate is never under this share of what it would be

Judgement = Literal["good", "skip", "back", "anew"]


class Guard:
    """Watches the steps of one chain.

    Args:
        chain: the whole network.
    """

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self.caution = 1.0
        self.backs = 0
        self.why = ""
        self._good: dict[str, Tensor] = {}
        self._missed: deque[bool] = deque(maxlen=NEWEST)
        self._calm = 0
        self._tried = False
        self.end_window()  # those it begins with are the first to come back to
        self._calm = 0

    def after_step(self, loss: float, *, taken: bool) -> Judgement:
        """Judge one step; `back` and `anew` have been done already when this returns.

        Args:
            loss: mean cross-entropy of the step.
            taken: whether the weights moved.
        """
        self._missed.append(not taken)
        if taken:
            if len(self._missed) == NEWEST and not any(self._missed):
                self._tried = False
            return "good"
        self.why = f"the last step was not taken: its loss is {loss:.3g}, or its gradient no number"
        if sum(self._missed) < TOO_MANY and self._finite():
            return "skip"
        self._missed.clear()
        self._calm = 0
        self.backs += 1
        self.caution = max(LEAST, self.caution / 2)
        told = f"after steps that were not taken (loss {loss:.3g})"
        back = bool(self._good) and not self._tried
        self._tried = True
        if back:
            self._take_back()
            self.why = f"{told} the last good weights came back, rate x {self.caution:g}"
            return "back"
        self._take_back()
        self._head_anew()
        self.why = f"{told} also with the last good weights, the head starts anew"
        return "anew"

    @property
    def good(self) -> dict[str, Tensor]:
        """The last good weights and statistics, by name (not copied)."""
        return self._good

    def end_window(self) -> None:
        """A window is over: if its steps were good and all is finite, these weights are good."""
        if any(self._missed) or not self._finite():
            return
        for name, tensor in self._chain.state_dict().items():
            held = self._good.get(name)
            if held is not None and held.shape == tensor.shape:
                held.copy_(tensor)
            else:
                self._good[name] = tensor.detach().clone()
        self._calm += 1
        if self._calm >= CALM:
            self._calm, self.caution, self.why = 0, min(1.0, 2 * self.caution), ""

    def _finite(self) -> bool:
        """Whether weights and statistics are numbers: a step that was not taken has still moved
        BatchNorm's statistics."""
        floats = [t for t in self._chain.state_dict().values() if t.is_floating_point()]
        return bool(torch.stack([n.float() for n in torch._foreach_norm(floats)]).isfinite().all())

    def _take_back(self) -> None:
        with torch.no_grad():
            for name, tensor in self._chain.state_dict().items():
                held = self._good.get(name)
                if held is not None and held.shape == tensor.shape:
                    tensor.copy_(held)
                elif held is not None:  # the head has grown since: its new rows are all alike
                    tensor.copy_(held.mean(0, keepdim=True).expand_as(tensor))
                    tensor[: len(held)].copy_(held)

    def _head_anew(self) -> None:
        with torch.no_grad():
            for parameter in head(self._chain.units[-1].module)[1].parameters(recurse=False):
                parameter.zero_()

    def tensors(self) -> dict[str, Tensor]:
        """The last good weights, for a checkpoint."""
        return dict(self._good)

    def to_json(self) -> dict[str, Any]:
        """The rest of the state, for a checkpoint."""
        return {
            "caution": self.caution,
            "missed": list(self._missed),
            "backs": self.backs,
            "why": self.why,
            "calm": self._calm,
            "tried": self._tried,
        }

    def load(self, tensors: Mapping[str, Tensor], data: Mapping[str, Any]) -> None:
        """Take back what `tensors` and `to_json` gave."""
        own = self._chain.state_dict()
        self._good = {n: t.to(own[n].device) for n, t in tensors.items() if n in own}
        self._missed = deque(data["missed"], maxlen=NEWEST)
        self.caution, self.backs = data["caution"], data["backs"]
        self.why, self._calm, self._tried = data["why"], data["calm"], data["tried"]
