"""The plot of accuracy over samples, with the drifts and what was out of training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from learndrop.bench.pages.frontier import LOOKS, OURS
from learndrop.bench.pages.runs import Group, Run

SHOWN = (OURS, "full fine-tuning", "drift-aware thinning", "full, same seconds", "head only")
# one line a family: more than five curves cannot be told apart
STYLES = ("-", "-", "--", ":", "-.")


def plot_curves(group: Group, path: Path) -> None:
    """Curves of the first seed: learndrop, full training and its strongest cheap controls."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (over, depth) = plt.subplots(
        2, 1, figsize=(12, 7), height_ratios=(3, 1), sharex=True, layout="constrained"
    )
    seed = min(run.seed for run in group.runs)
    shown = [run for family in SHOWN if (run := _shown(group, family, seed)) is not None]
    for run, style in zip(shown, STYLES, strict=False):
        curve = run.curve()
        over.plot(
            curve.samples,
            100 * curve.accuracy,
            style,
            label=run.label,
            color=LOOKS[run.family][0],
            linewidth=1.8 if run.family == OURS else 1.2,
        )
    ours = shown[0] if shown else group.runs[0]
    depth.fill_between(
        ours.after, ours.column("depth"), step="pre", alpha=0.3, color=LOOKS[OURS][0]
    )
    _mark_drifts(over, depth, ours)
    over.set_ylabel("accuracy %\n(newest 512 samples)")
    over.legend(fontsize=9, loc="lower left")
    over.grid(alpha=0.3)
    depth.set_ylim(0, ours.data["units"])
    depth.set_ylabel(f"units out of {ours.data['units']}\n({ours.label})")
    depth.set_xlabel("samples (dotted: the stream changes; red: that is noticed)")
    figure.suptitle(f"{group.title}; shown: seed {seed}", fontsize=10)
    figure.savefig(path, dpi=100, metadata={"Software": None})
    plt.close(figure)


def _shown(group: Group, family: str, seed: int) -> Run | None:
    """The best strategy of a family, but of full fine-tuning the whole one."""
    labels = group.family(family)
    label = family if family in labels else next(iter(labels), None)
    return next((r for r in group.of(label or "") if r.seed == seed), None)


def _mark_drifts(over: Any, depth: Any, run: Run) -> None:
    for name, begin in zip(run.worlds, run.begins, strict=True):
        over.text(begin, 1.01, f" {name}", fontsize=9, transform=over.get_xaxis_transform())
        for axes in (over, depth):
            axes.axvline(begin, color="#999999", linewidth=0.9, linestyle=":")
    for event in run.events("drift"):
        depth.axvline(event["samples"], color="#D55E00", linewidth=1.2)
    over.set_xlim(0, run.data["samples"])
