"""Function change: whether a unit still says the same about the same pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from learndrop.networks.chain import Chain
from learndrop.scores.scorer import Scores


def cka(a: Tensor, b: Tensor) -> float:
    """Linear CKA of two outputs on the same N pictures, 0 to 1 (Kornblith et al., 1905.00414).

    Args:
        a, b: float [N, ...].

    >>> x = torch.tensor([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0]])
    >>> round(cka(x, -3 * x), 4), round(cka(x, torch.tensor([[1.0], [1.0], [-2.0]])), 4)
    (1.0, 0.9487)
    """
    one, other = (_centred_gram(t) for t in (a, b))
    product = (one * other).sum()
    return float(product / (one.norm() * other.norm() + 1e-12))


def _centred_gram(x: Tensor) -> Tensor:
    flat = x.flatten(1).float()
    flat = flat - flat.mean(0)
    return flat @ flat.T


class FunctionScorer:
    """function: 1 - CKA of a unit's output on a small fixed probe, now and a window ago.

    What counts is what comes out, so a unit is charged with what those before it have changed.
    A forward pass of the whole network over the probe a window.

    Args:
        chain: the whole network.
        probe: gives float images [N, 3, S, S], or None while there are too few. Asked again only
            after `forget`.
        pay: told how many images passed the network, and the FLOPs of comparing their outputs.
    """

    def __init__(
        self, chain: Chain, probe: Callable[[], Tensor | None], pay: Callable[[int, int], None]
    ) -> None:
        self._chain, self._ask, self._pay = chain, probe, pay
        self._probe: Tensor | None = None
        self._units: list[int] = []
        self._before: dict[int, Tensor] = {}

    def start(self, parameters: Mapping[int, Sequence[Tensor]]) -> None:
        """See `Scorer`."""
        self._units = [u for u, ps in parameters.items() if ps]

    def forget(self) -> None:
        """A drift was taken in: the probe shall be of the new world."""
        self._probe, self._before = None, {}

    def after_step(self, rate: float) -> None:
        """Nothing to see at a step."""

    def read(self) -> dict[int, Scores]:
        """See `Scorer`; nothing at the first reading of a probe."""
        if self._probe is None:
            self._probe = self._ask()
        if self._probe is None:
            return {u: {} for u in self._units}
        now = self._outputs(self._probe)
        scores: dict[int, Scores] = {}
        compared = 0
        for unit in self._units:
            before = self._before.get(unit)
            scores[unit] = {} if before is None else {"function": 1.0 - cka(before, now[unit])}
            compared += 0 if before is None else before.numel() + now[unit].numel()
        self._pay(len(self._probe), 2 * compared * len(self._probe))  # two matrices of [N, N]
        self._before = {u: now[u] for u in self._units}
        return scores

    @torch.no_grad()
    def _outputs(self, x: Tensor) -> list[Tensor]:
        self._chain.eval()
        outputs = []
        for unit in self._chain.units:
            x = unit.module(x)
            outputs.append(x)
        return outputs

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See `Scorer`."""
        tensors = {f"before.{u}": t for u, t in self._before.items()}
        if self._probe is not None:
            tensors["probe"] = self._probe
        return tensors, {"before": sorted(self._before)}

    def load(self, tensors: Mapping[str, Tensor], data: Mapping[str, Any]) -> None:
        """See `Scorer`."""
        device = next(self._chain.parameters()).device
        probe = tensors.get("probe")
        self._probe = None if probe is None else probe.to(device)
        self._before = {u: tensors[f"before.{u}"].to(device) for u in data["before"]}
