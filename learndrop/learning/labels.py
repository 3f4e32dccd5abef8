"""The classes as they grew, and how often each came."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RECENT = 256  # samples over which the present mix of classes is taken
KNOWN = 32  # samples of a label before wrong answers to it say something
FORGETS = 1e-4  # a sample: the long run is about ten thousand of them


class Labels:
    """Class indices by label, in the order in which labels came.

    >>> labels = Labels(["cat"])
    >>> labels.add_new(["dog", "cat", "dog"])
    ['dog']
    >>> labels.take(["dog", "cat"])
    array([1, 0])
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes: list[str] = list(classes)
        self.recent: deque[int] = deque(maxlen=RECENT)
        self.long_run: NDArray[np.float64] = np.zeros(max(2, len(self.classes)))
        self._index = {label: i for i, label in enumerate(self.classes)}

    def add_new(self, labels: Sequence[str]) -> list[str]:
        """Make classes of the labels not seen before; these labels, each once."""
        new = [label for label in dict.fromkeys(labels) if label not in self._index]
        for label in new:
            self._index[label] = len(self.classes)
            self.classes.append(label)
        missing = max(0, len(self.classes) - len(self.long_run))
        self.long_run = np.concatenate([self.long_run, np.zeros(missing)])
        return new

    def take(self, labels: Sequence[str]) -> NDArray[np.int64]:
        """Count the labels; their class indices [N]."""
        targets = np.array([self._index[label] for label in labels], np.int64)
        self.recent.extend(targets.tolist())
        self.long_run *= (1 - FORGETS) ** len(targets)
        np.add.at(self.long_run, targets, 1.0)
        return targets

    def are_known(self, targets: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Of which of the class indices [N] enough came that wrong answers to them say something.

        The long run forgets, so one of many classes never holds more than its share of it: where
        that is less than twice as many, half of it is enough.

        >>> labels = Labels(["old", "new"])
        >>> _ = labels.take(["old"] * 40 + ["new"])
        >>> labels.are_known(np.array([0, 1]))
        array([ True, False])
        """
        counts = self.long_run
        share = (counts**2).sum() / counts.sum() ** 2 if counts.any() else 1.0  # of one of several
        return np.asarray(counts[targets] >= min(KNOWN, share / FORGETS / 2))

    def are_newcomers(self, targets: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of the class indices [N] came so seldom, beside the others, that nothing can have
        been learned of them yet.

        >>> labels = Labels(["old", "new"])
        >>> int(labels.take(["old"] * 99 + ["new"])[-1])
        1
        >>> labels.are_newcomers(np.array([0, 1]))
        array([False,  True])
        """
        counts = self.long_run
        usual = counts.sum() / max(1, np.count_nonzero(counts))
        return np.asarray(counts[targets] < min(KNOWN, usual / 4))

    @property
    def commonest(self) -> float:
        """Share of the commonest label in the long run; 1 before the first.

        >>> labels = Labels(["cat", "dog"])
        >>> _ = labels.take(["cat"] * 3 + ["dog"])
        >>> round(labels.commonest, 3)
        0.75
        """
        whole = self.long_run.sum()
        return float(self.long_run.max() / whole) if whole else 1.0

    def recent_counts(self) -> NDArray[np.int64]:
        """Samples of each class among the newest ones."""
        return np.bincount(np.array(self.recent, np.int64), minlength=len(self.long_run))

    def load(self, recent: Sequence[int], long_run: NDArray[np.float64]) -> None:
        """Take back the newest labels and the long run, from a checkpoint; the classes stay."""
        self.recent.extend(recent)
        self.long_run = long_run.copy()
