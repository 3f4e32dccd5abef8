"""Tells new names for the classes from a changed input, by answers of weights that stand still.

After a change of labels two samples of one label get one answer as often as before, only another
one; after a change of the input answers scatter, or collapse into a few. With many samples a label
its new name can be counted. With few, pairs of samples still tell which of both it was: of 128
samples in 100 classes 80 pairs have one label.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence

EACH = 8  # samples a label from which on its answers are counted
LEAST, PAIRS = 64, 32  # samples, and pairs of one label, that tell something
LIKELY, SURE = 0.25, 0.5  # of wrong answers explained by names: then two are one; then each is
UNSEEN = 0.05  # share of what comes that is of labels not met yet: more, and names are missing


def renamed_share(predicted: Sequence[int], targets: Sequence[int]) -> float | None:
    """How many answers would be right if only the names of the classes had changed.

    Each true label gets the answer that it got most often as its new name, no two the same. After a
    change of labels this share stays what the accuracy was; after a change of the input it
    falls. Where there are fewer than 8 samples a label, a few answers always agree by chance:
    there pairs of samples tell it (`kept_together`). Answers that are mostly right under the old
    names tell nothing: the error rose, but not by new ones. Nor do samples of one label, as where
    one class comes after the other: whatever they are answered, it would be right under some name.

    >>> renamed_share([1] * 8 + [0] * 8, [0] * 8 + [1] * 8)
    1.0
    >>> renamed_share([1, 2, 3, 4] * 4, [0] * 8 + [1] * 8)
    0.25
    >>> renamed_share([3] * 16, [0] * 8 + [1] * 8)  # everything looks alike: no renaming
    0.5
    >>> renamed_share([1, 2], [0, 1]) is None
    True
    >>> renamed_share([0] * 128, [1] * 128) is None
    True
    >>> renamed_share([0] * 8 + [1] * 7 + [0], [0] * 8 + [1] * 8) is None
    True
    """
    if are_few(targets):
        return kept_together(predicted, targets)
    if len(set(targets)) == 1:
        return None
    counts, names = _new_names(predicted, targets)
    share = sum(counts[t, a] for t, a in names.items()) / len(targets)
    return None if share >= 0.8 and all(t == a for t, a in names.items()) else share


def are_few(targets: Sequence[int]) -> bool:
    """Whether there are fewer than 8 samples a label."""
    return not targets or len(targets) < EACH * len(set(targets))


def kept_together(predicted: Sequence[int], targets: Sequence[int]) -> float | None:
    """`renamed_share` from pairs of samples; None with too few of them.

    Of the pairs with one label those that got one answer, and of the pairs with one answer those
    that have one label: where so many answers are right under some names, both shares are about
    its square. Answers that scatter spoil the first, answers that collapse the second.

    >>> targets = list(range(40)) * 3  # 120 pairs
    >>> kept_together([(t + 1) % 40 for t in targets], targets)
    1.0
    >>> kept_together(list(range(40)) + list(range(1, 40)) + [0, *range(3, 40), 0, 1, 2], targets)
    0.0
    >>> round(kept_together([t % 20 for t in targets], targets), 2)
    0.63
    >>> kept_together([0] * 8, [0] * 8) is None
    True
    """
    alike = _pairs(targets)
    if alike < PAIRS or len(targets) < LEAST:
        return None
    together = _pairs(zip(targets, predicted, strict=True))
    return math.sqrt(together / max(alike, _pairs(predicted)))


def renames(predicted: Sequence[int], targets: Sequence[int]) -> dict[int, int]:
    """Which class each label was called before: where that is another one and got at least half
    of the label's answers. No two labels get the same.

    A label whose own name has gone to another one gets what is left over: a name that nobody else
    has, by fewer of its answers too, rather than nothing.

    Where there are few samples a label, nothing is left over, wrong answers are no names unless
    many of them are (`kept_together`), and one alone is none unless most are.

    >>> renames([1] * 8 + [0] * 6 + [2] * 2, [0] * 8 + [1] * 8)
    {0: 1, 1: 0}
    >>> renames([1] * 8 + [0] * 3 + [2] * 2 + [1] * 3, [0] * 8 + [1] * 8)
    {0: 1, 1: 0}
    """
    counts, names = _new_names(predicted, targets)
    totals = Counter(targets)
    told = {t: a for t, a in sorted(names.items()) if t != a}
    found = {t: a for t, a in told.items() if 2 * counts[t, a] >= totals[t]}
    if are_few(targets):
        share = explained(predicted, targets)
        least = 1.0 if share > SURE else 2.0 if share > LIKELY else math.inf
        return {t: a for t, a in found.items() if counts[t, a] >= least}
    taken = set(found.values())
    left = {t: a for t, a in told.items() if t not in found and t in taken and a in found}
    return found | left


def are_missing(targets: Sequence[int]) -> bool:
    """Whether much of what comes is of labels that have not been met yet: as much as met once.

    >>> are_missing([0, 0, 1, 1, 2]), are_missing([0, 0, 0, 1, 1, 1] * 4 + [2])
    (True, False)
    """
    once = sum(n == 1 for n in Counter(targets).values())
    return once > UNSEEN * len(targets)


def explained(predicted: Sequence[int], targets: Sequence[int]) -> float:
    """The share of the wrong answers that would be right under new names, from pairs of samples.

    >>> targets = list(range(40)) * 3
    >>> explained([t ^ 1 if t < 20 else t for t in targets], targets)
    1.0
    """
    right = sum(a == t for a, t in zip(predicted, targets, strict=True)) / max(1, len(targets))
    return ((kept_together(predicted, targets) or 0.0) - right) / max(1.0 - right, 1e-9)


def _new_names(
    predicted: Sequence[int], targets: Sequence[int]
) -> tuple[Counter[tuple[int, int]], dict[int, int]]:
    """How often each label got each answer, and one answer a label, the most frequent pairs
    first; of equals that which is the label's own."""
    counts = Counter(zip(targets, predicted, strict=True))
    names: dict[int, int] = {}
    taken: set[int] = set()
    order = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0][0] != pair[0][1], pair[0]))
    for (target, answer), _ in order:
        if target not in names and answer not in taken:
            names[target] = answer
            taken.add(answer)
    return counts, names


def _pairs(values: Iterable[Hashable]) -> int:
    """How many pairs are alike."""
    return sum(n * (n - 1) // 2 for n in Counter(values).values())
