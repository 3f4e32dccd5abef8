"""Learndrop against plain training: the best of it, and what costs the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean

import numpy as np

from learndrop.bench.pages.figure import Figure, accuracy, plays_drifts
from learndrop.bench.pages.frontier import OURS
from learndrop.bench.pages.runs import Group, Run
from learndrop.bench.pages.tables import YARDSTICK, paired

PLAIN = (
    "full fine-tuning",
    "drift-aware thinning",
    "full with replays",
    "full, same seconds",
    "full, same share of samples",
)


def against_the_best(group: Group) -> list[Figure]:
    """Learndrop against the best plain run, whatever that one cost."""
    plain = [n for f in PLAIN for n in group.family(f)]
    if not (plays_drifts(group) and plain and group.of(OURS)):
        return []
    best = max(plain, key=lambda n: _mean(group.of(n), accuracy))
    gap = paired(group, best, OURS, accuracy)
    if gap is None:
        return []
    ratio = _mean(group.of(OURS), _seconds) / _mean(group.of(best), _seconds)
    most = 0.002 if ratio <= 0.5 else 0.0
    return [
        Figure(
            f"best plain run ({best}) above learndrop, which takes {ratio:.2f} of its seconds",
            "at most 0.2 points at half of its seconds, none at 0.8",
            f"{gap.text(scale=100, sign=True, digits=2)} points",
            ratio <= 0.8 and gap.mean <= most,
        )
    ]


def against_cheaper(group: Group) -> list[Figure]:
    """Learndrop against thinning at the same seconds, read off the line between its points."""
    if not (plays_drifts(group) and group.of(OURS)):
        return []
    figures = []
    ours_s, ours = _mean(group.of(OURS), _seconds), _mean(group.of(OURS), accuracy)
    for family, aim in (("full fine-tuning", 4.0), ("drift-aware thinning", 1.5)):
        points = sorted(
            (_mean(group.of(n), _seconds), _mean(group.of(n), accuracy))
            for n in group.family(family)
        )
        if len(points) < 2:
            continue
        xs, ys = zip(*points, strict=True)
        inside = xs[0] <= ours_s <= xs[-1]
        level = float(np.interp(ours_s, xs, ys))
        told = f"{100 * (ours - level):+.2f} points"
        if not inside:
            told += f" (its {'dearest' if ours_s > xs[-1] else 'cheapest'} point: {level:.1%})"
        share = ours_s / max(xs) if family == YARDSTICK else None
        what = f"learndrop above {'uniform thinning' if share else family} at its seconds"
        figures.append(Figure(what, f"{aim} points", told, 100 * (ours - level) >= aim))
    dominating = [
        n
        for f in PLAIN
        for n in group.family(f)
        if _mean(group.of(n), _seconds) < ours_s and _mean(group.of(n), accuracy) > ours
    ]
    told = ", ".join(dominating) or "none"
    figures.append(
        Figure("plain controls that are cheaper and better", "none", told, not dominating)
    )
    return figures


def _mean(runs: Sequence[Run], value: Callable[[Run], float]) -> float:
    return fmean(value(run) for run in runs)


def _seconds(run: Run) -> float:
    return run.train_s
