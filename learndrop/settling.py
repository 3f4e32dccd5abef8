"""Says when leading units have settled: freeze them, then drop them or take them back.

Scores are read at the end of each window; the rule says how deep one may cut; what is frozen is on
probation for one window, and is dropped only if the error did not rise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

from torch import Tensor

from learndrop import codecs
from learndrop.chain import Chain
from learndrop.dropping import DropRule, best_cut
from learndrop.feature_choice import CHOOSES
from learndrop.ledger import Ledger
from learndrop.progress import Progress
from learndrop.scorers import BOUNDS, KEYS, make_scorer
from learndrop.settings import Settings
from learndrop.tiers import room


@dataclass(frozen=True, slots=True)
class Move:
    """What to do: `freeze` up to the cut, `drop` what is frozen, or `return` to the cut."""

    type: Literal["freeze", "drop", "return"]
    cut: int
    cause: str


@dataclass
class Probation:
    """Units frozen, not yet dropped: what the coming window is compared with."""

    back_to: int
    error: float
    samples: int

    def slack(self, n: int) -> float:
        """How far the error of `n` samples may lie above: two standard errors and a hundredth.

        >>> round(Probation(back_to=0, error=0.1, samples=0).slack(128), 3)
        0.085
        """
        return float(0.01 + 2.0 * (max(self.error * (1 - self.error), 0.01) * 2 / n) ** 0.5)


class Settling:
    """Scorer, drop rule and probation.

    Args:
        chain: the whole network.
        ledger: knows what a step costs, by cut.
        settings: the score, bounds of the rule, length of a window, budget of the feature store.
        probe: gives a few images as the network's input, for a score that looks at outputs.
    """

    def __init__(
        self,
        chain: Chain,
        ledger: Ledger,
        settings: Settings,
        probe: Callable[[], Tensor | None] = lambda: None,
    ) -> None:
        self._chain, self._ledger, self._settings = chain, ledger, settings
        self._device = next(chain.parameters()).device
        self._window = settings.window * settings.batch  # samples
        self.scorer = make_scorer(settings.score, chain, probe, ledger.look)
        own = settings.persistence_low if settings.score == "persistence" else settings.score_low
        self.rule = DropRule(
            len(chain.units),
            own or BOUNDS[settings.score],
            settings.settled_windows,
            settings.warmup_windows,
            settings.keep_units,
            name=settings.score,
        )
        self.probation: Probation | None = None
        self.unit_scores: dict[int, dict[str, float]] = {}

    def read(self, cut: int, progress: Progress, *, may_freeze: bool) -> Move | None:
        """End the window. The next one begins with `scorer.start`, after the move was made.

        Args:
            cut: units out of training now.
            progress: the accuracy so far.
            may_freeze: whether a new probation may begin.
        """
        scores = self.scorer.read()
        self.unit_scores.update(scores)
        ceiling = self.rule.read({u: s.get(KEYS[self._settings.score]) for u, s in scores.items()})
        if self.probation is not None:
            return self._end_probation(self.probation, cut, progress)
        if not may_freeze:
            return None
        best = best_cut(
            ceiling,
            cut,
            seconds=self._ledger.step_costs(),
            row_bytes=self.row_bytes,
            budget=room(self._settings, self._device),
            batch=self._settings.batch,
        )
        # settled weights in a network that still gets better are not learned weights
        if best == cut or progress.improves(2 * self._window):
            return None
        error = 1.0 - progress.newest_accuracy(self._window)
        self.probation = Probation(cut, error, progress.samples)
        names = ", ".join(u.name for u in self._chain.units[cut:best])
        return Move("freeze", best, f"{names} settled: on probation for one window")

    def _end_probation(self, trial: Probation, cut: int, progress: Progress) -> Move:
        self.probation = None
        n = max(1, progress.samples - trial.samples)
        error, slack = 1.0 - progress.newest_accuracy(n), trial.slack(n)
        told = f"error {error:.3f} against {trial.error:.3f} before, {slack:.3f} allowed"
        if error > trial.error + slack:
            self.rule.start_over(trial.back_to)
            return Move("return", trial.back_to, f"frozen too early: {told}")
        return Move("drop", cut, f"units settled and held on probation: {told}")

    def start_over(self, back_to: int) -> None:
        """A drift was taken in: units from `back_to` on train again and must settle anew."""
        self.probation = None
        self.rule.start_over(back_to)
        self.scorer.forget()

    @cached_property
    def row_bytes(self) -> list[int]:
        """Bytes of one stored map, by cut, in the codec that is used at first."""
        name, size = self._settings.feature_codec, self._settings.image_size
        shapes = [u.out_shape for u in self._chain.units[:-1]]
        return [0] + [
            codecs.make(codecs.by_bytes(s)[0] if name in CHOOSES else name, s, size).row_bytes
            for s in shapes
        ]

    def tensors(self) -> dict[str, Tensor]:
        """The half-read window, for a checkpoint."""
        return self.scorer.state()[0]

    def to_json(self) -> dict[str, Any]:
        """The rest of the state, for a checkpoint."""
        return {
            "score": self._settings.score,
            "scorer": self.scorer.state()[1],
            "rule": self.rule.to_json(),
            "probation": asdict(self.probation) if self.probation else None,
            "unit_scores": {str(u): s for u, s in self.unit_scores.items()},
        }

    def load(
        self,
        tensors: Mapping[str, Tensor],
        data: Mapping[str, Any],
        trained: Mapping[int, Sequence[Tensor]],
    ) -> None:
        """Take back what `tensors` and `to_json` gave; `trained` as at `scorer.start`."""
        self.scorer.start(trained)
        if data.get("score", self._settings.score) == self._settings.score:
            self.scorer.load(tensors, data["scorer"])
            self.rule.load_json(data["rule"])  # else another score's readings, of no use here
        self.probation = Probation(**data["probation"]) if data["probation"] else None
        self.unit_scores = {int(u): s for u, s in data["unit_scores"].items()}
