"""Tables and plots, drawn from the JSON of runs and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

Run = dict[str, Any]
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def training_seconds(run: Run) -> float:
    """Seconds that a strategy chooses to spend: steps and building, not the answers that every
    strategy owes."""
    return float(run["seconds"]["train"] + run["seconds"]["build"])


def table(runs: Sequence[Run]) -> str:
    """A Markdown table, one row a run; the second is the yardstick for the seconds' ratio."""
    worlds = [w["name"] for w in runs[0]["worlds"]]
    head = [
        "strategy", "accuracy %", *[f"{w} %" for w in worlds], "train s", "of full",
        "test s", "build s", "wait s", "wall s", "forward TFLOP", "total TFLOP", "peak MiB",
    ]  # fmt: skip
    full = next((r for r in runs if r["strategy"] == "full fine-tuning"), runs[0])
    rows = [_row(run, full) for run in runs]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


def _row(run: Run, full: Run) -> list[str]:
    seconds = run["seconds"]
    return [
        run["strategy"],
        f"{100 * run['accuracy']:.1f}",
        *[f"{100 * w['accuracy']:.1f}" for w in run["worlds"]],
        f"{training_seconds(run):.1f}",
        f"{training_seconds(run) / max(1e-9, training_seconds(full)):.2f}",
        f"{seconds['test']:.1f}",
        f"{seconds['build']:.1f}",
        f"{seconds['wait']:.1f}",
        f"{seconds['wall']:.1f}",
        f"{run['flops']['forward_done'] / 1e12:.2f}",
        f"{run['flops']['done'] / 1e12:.2f}",
        f"{run['peak_memory_bytes'] / 2**20:.0f}",
    ]


def plot(runs: Sequence[Run], path: Path) -> None:
    """Accuracy over samples, over training seconds, and the drop depth of learndrop, as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (over_samples, over_seconds, depth) = plt.subplots(
        3, 1, figsize=(10, 11), height_ratios=(3, 3, 1), layout="constrained"
    )
    for run, colour in zip(runs, COLOURS * 9, strict=False):
        xs = [m["samples"] for m in run["curve"]]
        ys = [100 * m["accuracy"] for m in run["curve"]]
        over_samples.plot(xs, ys, label=run["strategy"], color=colour, linewidth=1.4)
        seconds = training_seconds(run)
        over_seconds.scatter([seconds], [100 * run["accuracy"]], color=colour, s=60, zorder=3)
        over_seconds.annotate(
            run["strategy"], (seconds, 100 * run["accuracy"]), xytext=(6, 4),
            textcoords="offset points", fontsize=9,
        )  # fmt: skip
    ours = runs[0]
    length = ours["samples"] // len(ours["worlds"])
    for axes in (over_samples, depth):
        for i, w in enumerate(ours["worlds"]):
            axes.axvline(i * length, color="#999999", linewidth=0.8, linestyle=":")
            if axes is over_samples:
                axes.text(i * length, 1.01, f" {w['name']}", fontsize=9,
                          transform=axes.get_xaxis_transform())  # fmt: skip
        axes.set_xlim(0, ours["samples"])
    over_samples.set_ylabel("prequential accuracy %\n(newest 512 samples)")
    over_samples.legend(fontsize=8, loc="lower right")
    over_samples.grid(alpha=0.3)
    over_seconds.set_xlabel("training seconds (steps and building; side by side in one run)")
    over_seconds.set_ylabel("accuracy % over the stream")
    over_seconds.grid(alpha=0.3)
    depth.step(
        [m["samples"] for m in ours["curve"]], [m["depth"] for m in ours["curve"]],
        where="post", color=COLOURS[0],
    )  # fmt: skip
    depth.fill_between(
        [m["samples"] for m in ours["curve"]], [m["depth"] for m in ours["curve"]],
        step="post", alpha=0.25, color=COLOURS[0],
    )  # fmt: skip
    for event in ours["events"]:
        if event["type"] == "drift":
            depth.axvline(event["samples"], color="#D55E00", linewidth=1.2)
    depth.set_ylim(0, ours["units"])
    depth.set_ylabel("units out\n(drift: red)")
    depth.set_xlabel("samples")
    figure.savefig(path, dpi=110)
    plt.close(figure)
