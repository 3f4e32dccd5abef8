"""SGD on what is in training; momentum belongs to a parameter's name and outlives every cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.optim.sgd import sgd

from learndrop.settings import Settings


class Optimizer:
    """torch's SGD, begun anew for each set of parameters in training: never a toggled group.

    Called as a function: torch's class imports its compiler, 2 s of every start and much memory.

    Args:
        settings: momentum, weight decay.
        device: where the parameters live.

    Attributes:
        parameters: those in training.
    """

    def __init__(self, settings: Settings, device: torch.device) -> None:
        self._settings = settings
        # on a GPU read by SGD where it lies: a number would become a part of a recorded step
        self._rate: Tensor | float = settings.rate
        if device.type == "cuda":
            self._rate = torch.tensor(settings.rate, device=device)
        self.parameters: list[nn.Parameter] = []
        self._named: Sequence[tuple[str, nn.Parameter]] = ()
        self._moving: list[Tensor] = []  # momentum of each parameter
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
        self._moving = []
        for name, p in named:
            # From the start: a first step that is not taken would leave the buffer unwritten. In
            # the parameter's own memory format: the fused SGD walks both as they lie there.
            kept = torch.zeros_like(p)
            if name in momentum:
                held = momentum[name]
                (kept if held.shape == p.shape else kept[: len(held)]).copy_(held)
            self._moving.append(kept)

    def momentum(self) -> dict[str, Tensor]:
        """Momentum by parameter name, where there is any, in training or not."""
        names = (name for name, _ in self._named)
        return self._resting | dict(zip(names, self._moving, strict=True))

    def set_rate(self, rate: float) -> None:
        """The learning rate of the next step."""
        if isinstance(self._rate, Tensor):
            self._rate.fill_(rate)
        else:
            self._rate = rate

    def forget_gradients(self) -> None:
        """The next gradients are those of the next batch alone."""
        for p in self.parameters:
            p.grad = None

    @torch.no_grad()
    def step(self, taken: Tensor) -> None:
        """Move the weights by their gradients.

        Args:
            taken: bool []; False moves no weight and no momentum. It is not read back: the fused
                SGD looks at it on the device, as for a gradient scaler.
        """
        each = zip(self.parameters, self._moving, strict=True)
        pulled = [(p, p.grad, m) for p, m in each if p.grad is not None]
        sgd(
            [p for p, _, _ in pulled],
            [gradient for _, gradient, _ in pulled],
            [m for _, _, m in pulled] if self._settings.momentum else [],
            weight_decay=self._settings.weight_decay,
            momentum=self._settings.momentum,
            lr=self._rate,
            dampening=0.0,
            nesterov=False,
            maximize=False,
            fused=True,  # one pass over the weights: 0.9 for 2.1 ms with 2.8 million on 2 cores
            found_inf=(~taken).float(),
        )
