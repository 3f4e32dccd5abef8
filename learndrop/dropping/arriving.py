"""Which units the rest of a known schedule cannot move far any more.

A network that is trained until its answers are right gets better to the end, so a rule that waits
for the end of that saves nothing (DECISIONS.md). The schedule is known, though. By its last motion
a unit that goes one way covers all that is left of it, one that wanders the root of the windows
left. Far is measured by the way that it has gone since the start: a network that begins at random
learns by moving its weights a few per cent of their norm.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from learndrop.dropping.rule import prefix
from learndrop.networks.chain import Chain
from learndrop.scores.scorer import Scores, norm
from learndrop.training.rates import rate_of

ARRIVED = 0.1  # of the way gone: with less than that left to go, a unit has arrived

Trained = Mapping[int, Sequence[Tensor]]  # parameters by unit position


class Arriving:
    """Measures each unit's way since the start of one schedule.

    Args:
        trained: parameters in training at its start.
        steps: of the whole schedule.
        window: steps from one reading of the scores to the next.
        top: highest rate of the schedule.
    """

    def __init__(self, trained: Trained, steps: int, window: int, top: float) -> None:
        self._steps, self._window, self._top = steps, window, top
        self._first = {u: [p.detach().clone() for p in ps] for u, ps in trained.items()}

    def leading(
        self, chain: Chain, step: int, trained: Trained, scores: Mapping[int, Scores], keep: int
    ) -> int:
        """How many leading units have arrived; the last `keep` never do.

        Args:
            chain: the whole network.
            step: of the schedule, now.
            trained: parameters in training now.
            scores: each unit's newest motion and persistence.
            keep: units at the end that always train.
        """
        left = sum(rate_of(s, self._steps, self._top) for s in range(step, self._steps))
        wander = math.sqrt(self._window / max(self._window, self._steps - step))
        gone = self._gone(trained)

        def near(position: int) -> bool:
            if position not in gone:
                return True  # it has left training, or has nothing to learn
            told = scores.get(position, {})
            if "persistence" not in told:
                return False
            rest = told["motion"] * left * max(wander, told["persistence"])
            return rest <= ARRIVED * gone[position]

        return prefix([near(unit.position) for unit in chain.units], keep)

    def _gone(self, trained: Trained) -> dict[int, float]:
        """How far each unit has moved since the start, of its norm; in one transfer."""
        if not trained:
            return {}
        ways = []
        for unit, parameters in trained.items():
            now = [p.detach() for p in parameters]
            ways.append(norm(torch._foreach_sub(now, self._first[unit])) / (norm(now) + 1e-12))
        return dict(zip(trained, torch.stack(ways).tolist(), strict=True))
