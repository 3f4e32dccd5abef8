"""SGD on what is in training; momentum belongs to a parameter's name and outlives every cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from learndrop.settings import Settings


class Optimizer:
    """torch's SGD, another one for each set of parameters in training: never a toggled group.

    Args:
        settings: momentum, weight decay.
        device: where the parameters live.

    Attributes:
        parameters: those in training.
        sgd: torch's, of these.
    """

    def __init__(self, settings: Settings, device: torch.device) -> None:
        self._settings = settings
        # read by SGD where it lies: a number would become a part of a recorded step
        self._rate = torch.zeros((), device=device)
        self._named: Sequence[tuple[str, nn.Parameter]] = ()
        self._resting: dict[str, Tensor] = {}  # momentum of what is not in training

    def follow(
        self, named: Sequence[tuple[str, nn.Parameter]], momentum: Mapping[str, Tensor]
    ) -> None:
        """From now on these are in training.

        Args:
            named: the parameters.
            momentum: what `momentum` gave, or a part of it; others begin at rest, and so do the
                rows that a head has grown since.
        """
        self._named, self.parameters = named, [p for _, p in named]
        trained = {name for name, _ in named}
        self._resting = {name: t for name, t in momentum.items() if name not in trained}
        self.sgd = torch.optim.SGD(
            self.parameters,
            lr=self._settings.rate,
            momentum=self._settings.momentum,
            weight_decay=self._settings.weight_decay,
            fused=True,  # one pass over the weights: 0.9 for 2.1 ms with 2.8 million on 2 cores
        )
        for name, p in named:
            # From the start: a first step that is not taken would leave the buffer unwritten. In
            # the parameter's own memory format: the fused SGD walks both as they lie there.
            kept = torch.zeros_like(p)
            if name in momentum:
                held = momentum[name]
                (kept if held.shape == p.shape else kept[: len(held)]).copy_(held)
            self.sgd.state[p]["momentum_buffer"] = kept

    def momentum(self) -> dict[str, Tensor]:
        """Momentum by parameter name, where there is any, in training or not."""
        moving = {name: self.sgd.state[p]["momentum_buffer"] for name, p in self._named}
        return self._resting | moving

    def set_rate(self, rate: float) -> None:
        """The learning rate of the next step."""
        on_gpu = self._rate.is_cuda
        if on_gpu:
            self._rate.fill_(rate)
        for group in self.sgd.param_groups:
            group["lr"] = self._rate if on_gpu else rate

    def step(self, taken: Tensor) -> None:
        """Move the weights by their gradients.

        Args:
            taken: bool []; False moves no weight and no momentum. It is not read back: the fused
                SGD looks at it on the device, as for a gradient scaler.
        """
        self.sgd.found_inf = (~taken).float()  # type: ignore[attr-defined]
        self.sgd.step()
