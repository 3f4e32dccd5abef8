"""Motion and persistence: how far a unit's weights went, and whether on in one direction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from learndrop.scores.scorer import Peaks, Scores, cosine, norm


class MotionScorer:
    """Motion and persistence of the weights.

    motion: ||w(end) - w(start)|| / (||w(start)|| x sum of learning rates). Divided by the rates,
    so that a falling rate alone cannot make a unit look learned.
    persistence: cosine between this window's displacement and that of the window before the last.
    About the share of the motion that goes on in one direction: a unit with something to learn
    walks on (0.5 to 0.8 measured after a drift), one that has learned wanders (0.1 to 0.2). The
    neighbouring window is left out because momentum carries its motion over. It needs no peak, no
    rate and no scale to be compared with.
    """

    def __init__(self) -> None:
        self._parameters: dict[int, list[Tensor]] = {}
        self._first: dict[int, list[Tensor]] = {}
        self._before: dict[int, list[list[Tensor]]] = {}  # displacements, newest first, two at most
        self._rates = 0.0

    def start(self, parameters: Mapping[int, Sequence[Tensor]]) -> None:
        self._parameters = {u: [p.detach() for p in ps] for u, ps in parameters.items() if ps}
        self._first = {u: [p.clone() for p in ps] for u, ps in self._parameters.items()}
        self._before = {
            u: held
            for u, held in self._before.items()
            if u in self._parameters and _same_shapes(held[0], self._parameters[u])
        }
        self._rates = 0.0

    def forget(self) -> None:
        """What moved before says nothing about what comes: a drift was taken in."""
        self._before = {}

    def after_step(self, rate: float) -> None:
        self._rates += rate

    def read(self) -> dict[int, Scores]:
        moved = {u: torch._foreach_sub(now, self._first[u]) for u, now in self._parameters.items()}
        figures = self._figures(moved)
        scores: dict[int, Scores] = {}
        for unit, (way, size, same_way) in figures.items():
            if not way:  # the weights came back: that they stand where they stood means nothing
                scores[unit] = {}
                continue
            held = self._before.setdefault(unit, [])
            scores[unit] = {"motion": way / (size * self._rates + 1e-12)}
            if len(held) == 2:
                scores[unit]["persistence"] = same_way
            self._before[unit] = [list(moved[unit]), *held[:1]]
        return scores

    def _figures(self, moved: Mapping[int, Sequence[Tensor]]) -> dict[int, list[float]]:
        """Way, size and cosine of each unit, in one transfer: each would wait for the device."""
        if not moved:
            return {}
        rows = []
        for unit, way in moved.items():
            held = self._before.get(unit, [])
            two_ago = held[1] if len(held) == 2 else way  # with none the cosine is not looked at
            rows.append(torch.stack([norm(way), norm(self._first[unit]), cosine(way, two_ago)]))
        return dict(zip(moved, torch.stack(rows).tolist(), strict=True))

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The half-read window, for a checkpoint: tensors by name, and JSON values."""
        tensors = {f"first.{u}.{i}": t for u, ts in self._first.items() for i, t in enumerate(ts)}
        for unit, held in self._before.items():
            for age, ts in enumerate(held):
                tensors |= {f"before.{unit}.{age}.{i}": t for i, t in enumerate(ts)}
        ages = {str(u): len(held) for u, held in self._before.items()}
        return tensors, {"rates": self._rates, "ages": ages}

    def load(self, tensors: Mapping[str, Tensor], data: Mapping[str, Any]) -> None:
        """Take back what `state` gave, after `start` with the same units."""
        for unit, ts in self._first.items():
            for i, t in enumerate(ts):
                t.copy_(tensors[f"first.{unit}.{i}"])
            self._before[unit] = [
                [tensors[f"before.{unit}.{age}.{i}"].to(ts[0].device) for i in range(len(ts))]
                for age in range(data["ages"].get(str(unit), 0))
            ]
        self._before = {u: held for u, held in self._before.items() if held}
        self._rates = data["rates"]


class ShareScorer(MotionScorer):
    """motion_share: motion against its highest since the start or the last drift, 0 to 1.

    Motion itself has a scale of its own in each unit, so no one bound fits all.
    """

    def __init__(self) -> None:
        super().__init__()
        self._peaks = Peaks()

    def forget(self) -> None:
        """See `Scorer`."""
        super().forget()
        self._peaks.forget()

    def read(self) -> dict[int, Scores]:
        """See `Scorer`."""
        scores = super().read()
        for unit, told in scores.items():
            if "motion" in told:
                told["motion_share"] = self._peaks.share(unit, told["motion"])
        return scores

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See `Scorer`."""
        tensors, data = super().state()
        return tensors, data | {"peaks": self._peaks.to_json()}

    def load(self, tensors: Mapping[str, Tensor], data: Mapping[str, Any]) -> None:
        """See `Scorer`."""
        super().load(tensors, data)
        self._peaks.load_json(data["peaks"])


def _same_shapes(a: Sequence[Tensor], b: Sequence[Tensor]) -> bool:
    return [t.shape for t in a] == [t.shape for t in b]
