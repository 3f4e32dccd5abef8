"""Says when leading units have settled: freeze them, then drop them or take them back.

Scores are read at the end of each window; the rule says how deep one may cut; what is frozen is on
probation for one window, for two where that leaves a doubt, and is dropped only if the error did
not rise. What is dropped trains for a window now and then (thawing.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

from torch import Tensor

from learndrop.dropping.probation import Probation
from learndrop.dropping.rule import LEAST_SKILL, DropRule, best_cut, skill
from learndrop.dropping.thawing import Thawing
from learndrop.events import EventType
from learndrop.features import codecs
from learndrop.features.choice import CHOOSES
from learndrop.features.tiers import room
from learndrop.networks.chain import Chain
from learndrop.scores.catalogue import BOUNDS, KEYS, make_scorer
from learndrop.settings import Settings
from learndrop.training.ledger import Ledger
from learndrop.training.progress import Progress

LONGEST = 2  # windows of a probation: one more where the first leaves a doubt


@dataclass(frozen=True, slots=True)
class Move:
    """What to do: `freeze` up to the cut, `drop` what is frozen, `return` to the cut, `thaw` from
    the cut on for a window, or `close` it again up to the cut: the thaw is over."""

    type: Literal["freeze", "drop", "return", "thaw", "close"]
    cut: int
    cause: str

    @property
    def event(self) -> EventType:
        """What it is called when it is told: closing a thaw is dropping again."""
        return "drop" if self.type == "close" else self.type


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
        self._window = settings.window_samples
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
        self.thawing = Thawing(chain, settings.thaw_every, settings.persistence_low)
        self.unit_scores: dict[int, dict[str, float]] = {}
        self.held_back = ""  # why nothing leaves though units have settled

    def read(
        self,
        cut: int,
        progress: Progress,
        *,
        commonest: float,
        may_freeze: bool,
        may_thaw: bool = False,
        arrived: int = 0,
    ) -> Move | None:
        """End the window. The next one begins with `scorer.start`, after the move was made.

        Args:
            cut: units out of training now.
            progress: the accuracy so far.
            commonest: share of the commonest label.
            may_freeze: whether a new probation may begin.
            may_thaw: whether then, if none does, a thaw may.
            arrived: leading units that have no way left to go: they may leave in any case.
        """
        scores = self.scorer.read()
        self.unit_scores.update(scores)
        if self.thawing.trial is not None:
            return self._end_thaw(self.thawing.trial, progress)
        ceiling = self.rule.read({u: s.get(KEYS[self._settings.score]) for u, s in scores.items()})
        if self.probation is not None:
            return self._end_probation(self.probation, cut, progress)
        if not may_freeze:
            return None
        # settled weights in a network that still gets better are not learned weights; nor are
        # those of one that has not begun to learn
        improves = progress.improves(2 * self._window)
        self.held_back = (
            "" if improves or ceiling <= cut else self._knows_little(progress, commonest)
        )
        best = best_cut(
            arrived if improves or self.held_back else max(arrived, ceiling),
            cut,
            seconds=self._ledger.step_costs(),
            row_bytes=self.row_bytes,
            budget=room(self._settings, self._device),
            batch=self._settings.batch,
        )
        if any(progress.worsens(n * self._window) for n in (1, 2)):
            best = cut  # the world moves, whether or not an alarm tells of it
        if best > cut:
            # answers that got no better, as many as one may have: one window shows great harm only
            before = self._window if improves else 2 * self._window
            error = 1.0 - progress.newest_accuracy(before)
            self.probation = Probation(cut, error, progress.telling, before)
            names = ", ".join(u.name for u in self._chain.units[cut:best])
            why = "have arrived" if improves else "settled"
            return Move("freeze", best, f"{names} {why}: on probation for one window")
        if cut and may_thaw and self.thawing.due():
            error = 1.0 - progress.newest_accuracy(self._window)
            self.thawing.begin(cut, error, progress.telling)
            return Move("thaw", 0, f"{cut} units were out: all train for one window")
        return None

    def _knows_little(self, progress: Progress, commonest: float) -> str:
        right = progress.newest_accuracy(2 * self._window)
        if skill(right, commonest) >= LEAST_SKILL:
            return ""
        return (
            f"units stand still, yet {right:.3f} of the answers are right where the commonest label"
            f" alone would be in {commonest:.3f}: so little is learned that nothing leaves training"
        )

    def _end_probation(self, trial: Probation, cut: int, progress: Progress) -> Move | None:
        error, n = _since(trial, progress)
        told, doubt = trial.told(error, n), trial.in_doubt(error, n)
        if doubt and not trial.worse(error, n) and n < LONGEST * self._window:
            return None
        self.probation = None
        if doubt:
            self.rule.start_over(trial.back_to)
            return Move("return", trial.back_to, f"frozen too early: {told}")
        return Move("drop", cut, f"units settled and held on probation: {told}")

    def _end_thaw(self, trial: Probation, progress: Progress) -> Move:
        error, n = _since(trial, progress)
        if trial.worse(error, n):
            self.thawing.take_back(harmed=True)
            return Move("close", trial.back_to, f"thawed in vain: {trial.told(error, n)}")
        found, cut = self.thawing.judge()
        for unit, persistence in found.items():
            self.unit_scores[unit]["persistence"] = persistence
        if cut == trial.back_to:
            return Move("close", cut, f"all have trained for one window: {trial.told(error, n)}")
        self.rule.start_over(cut)
        still = f"{self._chain.units[cut].name} moved as it did in the thaw before: still learning"
        return Move("close" if cut else "return", cut, still)

    def start_over(self, back_to: int) -> None:
        """A drift was taken in: units from `back_to` on train again and must settle anew."""
        self.probation, self.held_back = None, ""
        self.thawing.forget()
        self.rule.start_over(back_to)
        self.scorer.forget()

    @cached_property
    def row_bytes(self) -> list[int]:
        """Bytes of one stored map, by cut, in the codec that is used at first; 0 where none is."""
        name, size = self._settings.feature_codec, self._settings.image_size
        shapes = [u.out_shape for u in self._chain.units[:-1]]
        firsts = [codecs.by_bytes(s, size)[:1] if name in CHOOSES else [name] for s in shapes]
        return [0] + [
            codecs.make(first[0], shape, size).row_bytes if first else 0
            for first, shape in zip(firsts, shapes, strict=True)
        ]

    def tensors(self) -> dict[str, Tensor]:
        """The half-read window, and what a thaw holds, for a checkpoint."""
        thaw = {f"thaw/{name}": t for name, t in self.thawing.tensors().items()}
        return self.scorer.state()[0] | thaw

    def to_json(self) -> dict[str, Any]:
        """The rest of the state, for a checkpoint."""
        return {
            "score": self._settings.score,
            "scorer": self.scorer.state()[1],
            "rule": self.rule.to_json(),
            "probation": asdict(self.probation) if self.probation else None,
            "thawing": self.thawing.to_json(),
            "held_back": self.held_back,
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
        self.held_back = data.get("held_back", "")  # younger than the format
        self.unit_scores = {int(u): s for u, s in data["unit_scores"].items()}
        if "thawing" in data:  # younger than the format
            thaw = {n.removeprefix("thaw/"): t for n, t in tensors.items() if n.startswith("thaw/")}
            self.thawing.load(thaw, data["thawing"])


def _since(trial: Probation, progress: Progress) -> tuple[float, int]:
    """The error of the answers since it began, and how many they are."""
    accuracy, n = progress.since(trial.samples)
    return 1.0 - accuracy, n
