"""The plot of accuracy over what it cost: who lies above whom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from learndrop.bench.pages.estimates import Estimate
from learndrop.bench.pages.runs import Group, Run
from learndrop.bench.pages.tables import over_seeds

OURS, KEEPING_UP = "learndrop", "learndrop, keeping up"
LOOKS: dict[str, tuple[str, str]] = {
    # family: colour, marker; a family of several strategies is joined by a line
    OURS: ("#0072B2", "*"),
    KEEPING_UP: ("#0072B2", "p"),
    "full fine-tuning": ("#000000", "o"),
    "drift-aware thinning": ("#D55E00", "s"),
    "full with replays": ("#E69F00", "^"),
    "full, same seconds": ("#CC79A7", "D"),
    "full, same share of samples": ("#CC79A7", "P"),
    "freeze only": ("#56B4E9", "v"),
    "FreezeOut's schedule": ("#56B4E9", "<"),
    "Egeria-like rule": ("#56B4E9", ">"),
    "random prefix": ("#009E73", "X"),
    "latent replay": ("#009E73", "h"),
    "head only": ("#009E73", "d"),
    "oracle's schedules": ("#999999", "."),
}
COSTS = (
    ("training seconds: all but the answers that everyone owes", lambda run: run.train_s),
    ("training TFLOP, likewise", lambda run: run.train_tflop),
)


def plot_frontier(group: Group, path: Path) -> None:
    """Mean and 95 % interval of every strategy; what learndrop dominates is shaded."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(13, 6.8), sharey=True, layout="constrained")
    for axes, (name, cost) in zip(panels, COSTS, strict=True):
        axes.set_xscale("log")
        for family in _families(group):
            _draw_family(axes, group, family, cost)
        axes.margins(x=0.1, y=0.08)
        _shade(axes, group, cost)
        axes.set_xlabel(name)
        _plain_ticks(axes)
        axes.grid(alpha=0.25, which="both")
    panels[0].set_ylabel("accuracy % over the whole stream, test then train")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, fontsize=9, frameon=False)
    figure.suptitle(group.title, fontsize=10)
    figure.savefig(path, dpi=100, metadata={"Software": None})
    plt.close(figure)


def _families(group: Group) -> list[str]:
    played = {run.family for run in group.runs}
    return [f for f in LOOKS if f in played] + sorted(played - LOOKS.keys())


def _draw_family(axes: Any, group: Group, family: str, cost: Any) -> None:
    colour, marker = LOOKS.get(family, ("#666666", "o"))
    points = sorted(
        ((*_point(group.of(label), cost), group.of(label)[0]) for label in group.family(family)),
        key=lambda point: point[0].mean,
    )
    xs, ys = [x.mean for x, _, _ in points], [100 * y.mean for _, y, _ in points]
    axes.errorbar(
        xs,
        ys,
        xerr=[x.half or 0.0 for x, _, _ in points],
        yerr=[100 * (y.half or 0.0) for _, y, _ in points],
        label=family,
        color=colour,
        marker=marker,
        markersize=15 if family == OURS else 7,
        linestyle="-" if len(points) > 1 and family != "oracle's schedules" else "none",
        linewidth=1.0,
        elinewidth=0.7,
        zorder=4 if family == OURS else 3,
    )
    for x, y, (_, _, run) in zip(xs, ys, points, strict=True):
        axes.annotate(
            run.data["mark"],
            (x, y),
            xytext=(0, 7),
            textcoords="offset points",
            ha="center",
            fontsize=8,
            color=colour,
        )


def _point(runs: list[Run], cost: Any) -> tuple[Estimate, Estimate]:
    return over_seeds(runs, cost), over_seeds(runs, lambda run: run.accuracy)


def _shade(axes: Any, group: Group, cost: Any) -> None:
    """Costs more than learndrop and is not better: the area below and right of its points."""
    right, bottom = axes.get_xlim()[1], axes.get_ylim()[0]
    for label in group.family(OURS):
        x, y = _point(group.of(label), cost)
        axes.fill_between(
            [x.mean, right], bottom, 100 * y.mean, color=LOOKS[OURS][0], alpha=0.08, zorder=0
        )
    axes.set_xlim(right=right)
    axes.set_ylim(bottom=bottom)


def _plain_ticks(axes: Any) -> None:
    """10, 20, 50 instead of powers of ten."""
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
