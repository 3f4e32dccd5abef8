"""How many replayed samples go with each arriving one, from what the stream shows."""

from __future__ import annotations

import math
from collections.abc import Sequence


def effective_classes(counts: Sequence[float]) -> float:
    """How many equally frequent classes would be as mixed as these: exp of the entropy.

    >>> effective_classes([5, 5])
    2.0
    >>> effective_classes([7, 0, 0])
    1.0
    """
    total = sum(counts)
    if total <= 0:
        return 0.0
    shares = [c / total for c in counts if c > 0]
    return round(math.exp(-sum(s * math.log(s) for s in shares)), 6)


MOST = 7  # replays for each arriving sample


def affordable(costs: Sequence[int], cut: int) -> int:
    """How many replays on stored maps a sample's training may have for what dropping saved.

    Args:
        costs: of one training step a sample, by cut.
        cut: units out of training.

    >>> affordable([100, 60, 20, 10], 0), affordable([100, 60, 20, 10], 2)
    (0, 4)
    >>> affordable([100, 60, 20, 10], 3)
    7
    """
    saved = costs[0] - costs[cut]
    return min(MOST, saved // max(1, costs[cut]))


def replays_for(*, narrow: bool, young: bool) -> int:
    """Replays for each arriving sample when nobody has said a number.

    A mixed stream needs none: at a well-chosen rate they cost a step each and gain nothing
    (DECISIONS.md has the figures). A stream ordered by class forgets without them, and a network
    that began with random weights gains from seeing the few samples of a young world again.

    Args:
        narrow: few classes arrive now (`is_narrow`).
        young: the network began with random weights, and the present world is young.

    >>> replays_for(narrow=False, young=False)
    0
    >>> replays_for(narrow=True, young=False), replays_for(narrow=False, young=True)
    (1, 1)
    """
    return int(young or narrow)


def is_narrow(recent: Sequence[float], long_run: Sequence[float]) -> bool:
    """Whether the newest samples are of far fewer classes than is usual.

    Args:
        recent: samples of each class among the newest ones.
        long_run: share of each class over the long run.

    >>> is_narrow([21, 0], [1, 1]), is_narrow([10, 11], [1, 1])
    (True, False)
    >>> is_narrow([1, 0] * 250, [1] * 500)  # so few samples cannot be of all of so many classes
    False
    """
    usual = shown_by(effective_classes(long_run), sum(recent))
    return effective_classes(recent) < 0.6 * usual


def shown_by(classes: float, samples: float) -> float:
    """`effective_classes` that so many samples of so many equally frequent classes are to show.

    >>> round(shown_by(10, 256), 1), round(shown_by(1000, 256), 1)
    (9.8, 216.3)
    """
    if classes < 1 or samples < 1 or samples > 100 * classes:  # all of them, then
        return classes
    each = samples / classes  # expected of one class; what comes is about Poisson's
    likely, surplus = math.exp(-each), 0.0
    for n in range(1, math.ceil(each + 8 * math.sqrt(each) + 8)):
        likely *= each / n
        surplus += likely * n * math.log(n)
    return samples * math.exp(-surplus / each)
