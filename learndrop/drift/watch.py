"""Notices that the stream has changed and, some batches later, says what about it has.

Two steps: the errors rise, or the pictures are plainly others and answered worse (an alarm); then a
few batches of the new world are looked at (a trial), and the verdict says whether the labels
changed or the pictures, and where that begins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from learndrop.drift.detector import DriftDetector
from learndrop.drift.location import FEW, ActivationMonitor
from learndrop.drift.renaming import LIKELY, are_few, are_missing, explained, renamed_share, renames
from learndrop.standard_error import standard_error

WARNING = 20.0  # times the detector's delta: a warning comes sooner and is often none
KEPT = 0.8  # of the accuracy before, under new names: then only these are new
ROSE = 0.25  # by so much more answers right: then names are new, whatever else is
LONGEST = 512  # samples of a trial that waits for names


@dataclass(frozen=True, slots=True)
class Alarm:
    """The stream has changed.

    Attributes:
        before: mean error before the change.
        after: mean error since.
        samples: how many of the newest samples are of the new world.
    """

    before: float
    after: float
    samples: int

    @property
    def cause(self) -> str:
        """The alarm as a sentence."""
        return f"error rose from {self.before:.3f} to {self.after:.3f}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What changed.

    Attributes:
        onset: position of the first unit whose input differs (0: the pictures themselves); the
            number of units where only the head's answers do; None where only the labels changed.
        strengths: how far each position lies above its quiet mean, in quiet spreads.
        accuracy_before: before the alarm.
        renamed_share: share of answers that would be right under new names; None if unknown.
        renames: which class each class was called before, where the labels changed.
        still: the answers are scattered, yet the statistics of all maps are as before: an onset of
            0 is a guess then, it may be the head's (head_fault.py).
    """

    onset: int | None
    strengths: list[float]
    accuracy_before: float
    renamed_share: float | None = None
    renames: dict[int, int] = field(default_factory=dict)
    still: bool = False

    @property
    def unexplained(self) -> bool:
        """Whether pictures and answers are much as before: a mild change of either, or none."""
        return self.onset is None and self.renamed_share is None

    def cause(self, units: Sequence[str]) -> str:
        """The verdict as a sentence; `units` are the names of the network's units.

        >>> Verdict(2, [0.0, 0.0, 9.0], 0.9).cause(["stem", "middle", "head"])
        'the change begins at middle'
        >>> Verdict(3, [0.0, 0.0, 0.0], 0.9).cause(["stem", "middle", "head"])
        'the change begins at head'
        >>> Verdict(None, [0.0, 0.0, 0.0], 0.9).cause(["stem", "middle", "head"])
        'pictures and names are much as before'
        >>> Verdict(None, [0.0, 0.0, 0.0], 0.9, 0.88, {0: 1, 1: 0}).cause(["stem", "head"])[:46]
        'the pictures are as before: the labels changed'
        """
        if self.unexplained:
            return "pictures and names are much as before"
        if self.onset is None:
            told = "the pictures are as before: the labels changed"
        else:
            place = "the input" if self.onset == 0 else units[self.onset - 1]
            told = f"the change begins at {place}"
            told += ", and the labels changed" if self.renames else ""
        if self.renamed_share is None:
            return told
        return (
            f"{told}; with new names for the classes {self.renamed_share:.2f} of the answers"
            " would be right"
        )


class Watch:
    """Drift detector, activation monitor and the trial after an alarm.

    Args:
        units: positions watched (position 0 is the network's input).
        delta: confidence of the drift detector.
        cooldown: samples after an alarm in which no other is raised.

    Attributes:
        warned: the newest batch has made a drift likely, yet not certain.
    """

    def __init__(self, units: int, delta: float, cooldown: int) -> None:
        self.detector = DriftDetector(delta, cooldown)
        self.warner = DriftDetector(min(0.3, WARNING * delta), cooldown)
        self.warned = False
        self.monitor = ActivationMonitor(units)
        self._error_before = 0.0
        self._of_others: list[bool] = []  # answers to pictures that are plainly others, in a row
        self._answers: list[int] = []
        self._targets: list[int] = []

    def look(self, outputs: Sequence[Tensor]) -> None:
        """Take the network's input and each unit's output for one batch: [N, C, ...] each."""
        self.monitor.update(outputs)

    def update(
        self, right: Sequence[bool], answers: NDArray[np.int64], targets: NDArray[np.int64]
    ) -> Alarm | Verdict | None:
        """Take the answers [N] to one batch, after `look`, and say what there is to say."""
        self.warned = False
        if self.monitor.on_trial:
            self._answers += answers.tolist()
            self._targets += targets.tolist()
            return None if self._goes_on() else self._judge()
        if jumped := self._jumped(right):
            return self._raise_alarm(jumped)
        for place, verdict in enumerate(right, 1):
            self.warner.update(not verdict)
            if self.warner.drift_detected:
                self.warned = True
                self.warner.reset()
            self.detector.update(not verdict)
            if self.detector.drift_detected:
                told = self.detector
                behind = len(right) - place  # of the batch: they are of the new world too
                return self._raise_alarm(Alarm(told.before, told.after, told.width + behind))
        return None

    def _jumped(self, right: Sequence[bool]) -> Alarm | None:
        """An alarm where the pictures are plainly others and answered worse: at once, and also
        where the detector raises none because it has just raised one."""
        self._of_others = [*self._of_others, *right] if self.monitor.jumped else []
        n = len(self._of_others)
        if n < FEW or self.detector.seen < FEW:
            return None
        before, now = self.detector.error, 1.0 - sum(self._of_others) / n
        return Alarm(before, now, n) if now > before + 3 * standard_error(before, n) else None

    def withdraw(self) -> None:
        """Take the last alarm back: it was none."""
        self.monitor.on_trial = False
        self._answers, self._targets = [], []

    def _raise_alarm(self, alarm: Alarm) -> Alarm:
        self._error_before = alarm.before
        self._of_others = []
        self.detector.reset()
        self.warner.reset()
        self.monitor.start_trial()
        self._answers, self._targets = [], []
        return alarm

    def _goes_on(self) -> bool:
        """Whether the trial does: also where the labels seem to have changed, and many of them
        have not come yet. A changed input is told by those that have."""
        if not self.monitor.trial_is_over:
            return True
        if self.monitor.is_clear or len(self._targets) >= LONGEST or not are_few(self._targets):
            return False
        share = renamed_share(self._answers, self._targets)
        if share is not None and share < KEPT * (1.0 - self._error_before):
            return False
        likely = share is None or explained(self._answers, self._targets) > LIKELY
        return likely and are_missing(self._targets)

    def _judge(self) -> Verdict:
        clear = self.monitor.is_clear
        onset, strengths = self.monitor.onset()
        accuracy = 1.0 - self._error_before
        if clear:  # few answers: they would agree on new names by chance
            return Verdict(0, strengths, accuracy)
        share = renamed_share(self._answers, self._targets)
        if share is None:
            return Verdict(onset, strengths, accuracy)
        # the answers know better than the statistics: a turned picture has those of an upright
        # one, and a batch of unlucky pictures shifts them without meaning anything
        new_names = renames(self._answers, self._targets)
        if share < KEPT * accuracy:  # scattered
            both = share >= 0.5 and share >= self._right_as_named() + ROSE
            told = new_names if both else {}
            return Verdict(onset or 0, strengths, accuracy, share, told, still=onset is None)
        if not new_names:  # right under the old names as often: these say nothing then
            return Verdict(onset, strengths, accuracy)
        return Verdict(None, strengths, accuracy, share, new_names)

    def _right_as_named(self) -> float:
        """Share of the trial's answers that are right under the names that the classes have."""
        pairs = zip(self._answers, self._targets, strict=True)
        return sum(a == t for a, t in pairs) / len(self._targets)

    def to_json(self) -> dict[str, Any]:
        """The state, for a checkpoint."""
        return {
            "detector": self.detector.to_json(),
            "warner": self.warner.to_json(),
            "warned": self.warned,
            "monitor": self.monitor.to_json(),
            "error_before": self._error_before,
            "trial": [self._answers, self._targets],
            "of_others": self._of_others,
        }

    def load_json(self, data: Mapping[str, Any]) -> None:
        """Take back what `to_json` gave."""
        self.detector.load_json(data["detector"])
        if "warner" in data:
            self.warner.load_json(data["warner"])
            self.warned = data["warned"]
        self.monitor.load_json(data["monitor"])
        self._error_before = data["error_before"]
        self._answers, self._targets = data["trial"]
        self._of_others = data.get("of_others", [])
