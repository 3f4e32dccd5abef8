"""Which predictions are most worth a label: unsure ones, and ones unlike those known or chosen.

A list of the most unsure alone would be the same hard picture twenty times. So the list is chosen
one by one, and each is held against what has a label already and what was chosen before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Candidate:
    """A prediction. `margin` is between its two greatest probabilities."""

    id: str
    probabilities: Mapping[str, float]
    margin: float
    labelled: bool


@dataclass(frozen=True, slots=True)
class Wish:
    """A prediction that a label is wished for.

    Attributes:
        id: of the prediction.
        worth: 0 to 1, what the list is ordered by.
        margin: between its two greatest probabilities: 0 is a toss-up.
        novelty: share of probability that lies elsewhere than in the nearest that is labelled or
            higher up in the list; 1 where there is none.
        why: in one line.
    """

    id: str
    worth: float
    margin: float
    novelty: float
    why: str


def most_worth(candidates: Sequence[Candidate], most: int) -> list[Wish]:
    """Choose up to `most` of the candidates that have no label, the most worth first.

    Worth is (1 - margin) x (1 + novelty) / 2: being unsure counts in full, being like another one
    halves it.

    >>> rows = [Candidate("sure", {"a": 0.9, "b": 0.1}, 0.8, False),
    ...         Candidate("torn", {"a": 0.5, "b": 0.5}, 0.0, False)]
    >>> [(w.id, w.worth, w.why) for w in most_worth(rows, 1)]
    [('torn', 1.0, 'torn between a and b (margin 0.00); nothing labelled to compare with')]
    """
    vectors = _vectors(candidates)
    unsure = np.array([1 - c.margin for c in candidates])
    open_ = np.array([not c.labelled for c in candidates], bool)
    nearest = np.full(len(candidates), np.inf)
    for n in np.flatnonzero(~open_).tolist():
        nearest = np.minimum(nearest, _distances(vectors, n))
    chosen: list[Wish] = []
    while open_.any() and len(chosen) < most:
        novelty = np.minimum(nearest, 1)
        worth = np.where(open_, unsure * (1 + novelty) / 2, -1)
        best = int(worth.argmax())
        chosen.append(
            Wish(
                candidates[best].id,
                round(float(worth[best]), 4),
                round(candidates[best].margin, 4),
                round(float(novelty[best]), 4),
                _why(candidates[best], float(nearest[best])),
            )
        )
        open_[best] = False
        nearest = np.minimum(nearest, _distances(vectors, best))
    return chosen


def _vectors(candidates: Sequence[Candidate]) -> NDArray[np.float32]:
    """Probabilities [N, labels + 1]; the last column is what the stored answers left out."""
    labels = sorted({label for c in candidates for label in c.probabilities})
    column = {label: n for n, label in enumerate(labels)}
    vectors = np.zeros((len(candidates), len(labels) + 1), np.float32)
    for row, candidate in zip(vectors, candidates, strict=True):
        for label, share in candidate.probabilities.items():
            row[column[label]] = share
        row[-1] = max(0.0, 1 - row.sum())
    return vectors


def _distances(vectors: NDArray[np.float32], n: int) -> NDArray[np.float64]:
    """Total variation between row `n` and every row: 0 is the same answer, 1 nothing in common."""
    return np.asarray(np.abs(vectors - vectors[n]).sum(axis=1) / 2, np.float64)


def _why(candidate: Candidate, nearest: float) -> str:
    shares = candidate.probabilities
    first, second, *_ = [*sorted(shares, key=lambda label: -shares[label]), "others", "others"]
    told = f"torn between {first} and {second} (margin {candidate.margin:.2f})"
    if candidate.margin > 0.5:
        told = f"fairly sure of {first} (margin {candidate.margin:.2f})"
    if nearest > 1:
        return f"{told}; nothing labelled to compare with"
    return f"{told}; {100 * nearest:.0f} % unlike the nearest labelled or listed one"
