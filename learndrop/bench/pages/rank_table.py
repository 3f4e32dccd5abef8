"""The comparison of scores as a page, from the runs of `learndrop.bench.rank` and nothing else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from learndrop.bench.pages.tables import markdown

DRAWS = 400  # of the bootstrap
FEWEST = 5  # forks for a correlation
HARMS = ("loss_gained", "accuracy_lost")

Row = dict[str, Any]
Rows = list[Row]


def _score(name: str) -> Callable[[Row], float | None]:
    return lambda row: row["scores"].get(name)


# value of a row by name; the last two are what any score has to beat
VALUES: dict[str, Callable[[Row], float | None]] = {
    "persistence": _score("persistence"),
    "motion per rate": _score("motion"),
    "motion, share of its peak": _score("motion_share"),
    "directedness": _score("directedness"),
    "function change": _score("function"),
    "gradient, share of its peak": _score("gradient"),
    "no score: units before the cut": lambda row: row["cut"],
    "no score: samples yet to come": lambda row: -row["samples"],
}


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Rank correlation, equal values sharing their mean rank; nan where one side never differs.

    >>> round(spearman([1, 2, 3, 4], [1, 2, 4, 3]), 6), spearman([1, 1, 1], [1, 2, 3])
    (0.8, nan)
    """
    from scipy.stats import rankdata  # seconds, which only a page with ranks is worth

    one, other = rankdata(a), rankdata(b)
    one, other = one - one.mean(), other - other.mean()
    size = float(np.sqrt((one**2).sum() * (other**2).sum()))
    return float((one * other).sum() / size) if size else float("nan")


def page(runs: Sequence[dict[str, Any]]) -> str:
    """Tables of rank correlations over all runs, and run by run."""
    forks = sum(len({row["samples"] for row in run["rows"]}) for run in runs)
    rows = sum(len(run["rows"]) for run in runs)
    told = (
        f"{len(runs)} streams, {forks} forks, {rows} drops. Spearman's rank correlation between the"
        " highest score among the dropped units at the moment of the drop and what the drop cost:"
        " 1 would be a score that orders drops by their harm. Each correlation is taken within"
        " one stream, then averaged; in square brackets a 95 % interval (bootstrap over forks)."
        " *Same cut* compares only drops of the same units in the same stream, so that being deeper"
        " does not count as knowing more. Cost is the cross-entropy on samples that come after"
        " (`loss`), or answers lost while they come (`accuracy`)."
    )
    head = ["score", "loss, same cut", "accuracy, same cut", "loss, all cuts", "accuracy, all cuts"]
    table = []
    for name in VALUES:
        cells = [_cell(runs, name, harm, same_cut=same) for same in (True, False) for harm in HARMS]
        table.append([name, *cells])
    names = list(VALUES)
    by_run = [
        [
            f"{run['data']}, {run['network']}, seed {run['seed']}",
            _harm(run["rows"]),
            *(_text(_mean([run], name, "loss_gained", same_cut=True)) for name in names),
        ]
        for run in runs
    ]
    return "\n\n".join(
        [
            told,
            markdown(head, table),
            "Loss at the same cut, stream by stream; `harm` is the median and the highest"
            " cross-entropy that a drop added.",
            markdown(["stream", "harm", *names], by_run),
        ]
    ).strip() + "\n"  # fmt: skip


def _harm(rows: Rows) -> str:
    harms = [row["loss_gained"] for row in rows] or [float("nan")]
    return f"{np.median(harms):+.3f}, {max(harms):+.3f}"


def _cell(runs: Sequence[dict[str, Any]], name: str, harm: str, *, same_cut: bool) -> str:
    rng = np.random.default_rng(0)
    middle = _mean(runs, name, harm, same_cut=same_cut)
    draws = [
        _mean([_drawn(run, rng) for run in runs], name, harm, same_cut=same_cut)
        for _ in range(DRAWS)
    ]
    known = [d for d in draws if not np.isnan(d)]
    if np.isnan(middle) or not known:
        return ""
    low, high = np.quantile(known, [0.025, 0.975])
    return f"{middle:+.2f} [{low:+.2f}, {high:+.2f}]"


def _text(value: float) -> str:
    return "" if np.isnan(value) else f"{value:+.2f}"


def _drawn(run: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """The run with as many forks, drawn with repetition: cuts of one fork share their fate."""
    forks: dict[int, Rows] = defaultdict(list)
    for row in run["rows"]:
        forks[row["samples"]].append(row)
    keys = list(forks)
    picked = rng.integers(0, len(keys), len(keys))
    return {**run, "rows": [row for i in picked for row in forks[keys[i]]]}


def _mean(runs: Sequence[dict[str, Any]], name: str, harm: str, *, same_cut: bool) -> float:
    """Mean over the runs (over the cuts of each run first) of the rank correlation."""
    by_run = []
    for run in runs:
        groups: dict[int, Rows] = defaultdict(list)
        for row in run["rows"]:
            groups[row["cut"] if same_cut else 0].append(row)
        found = [_one(rows, name, harm) for rows in groups.values()]
        known = [f for f in found if not np.isnan(f)]
        if known:
            by_run.append(float(np.mean(known)))
    return float(np.mean(by_run)) if by_run else float("nan")


def _one(rows: Rows, name: str, harm: str) -> float:
    pairs = [(v, row[harm]) for row in rows if (v := VALUES[name](row)) is not None]
    if len(pairs) < FEWEST:
        return float("nan")
    return spearman([p[0] for p in pairs], [p[1] for p in pairs])
