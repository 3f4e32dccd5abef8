"""Markdown tables of runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from learndrop.bench.pages.estimates import Estimate, estimate
from learndrop.bench.pages.runs import Group, Run

YARDSTICK = "full fine-tuning"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """
    >>> print(markdown(["a", "b"], [["1", "2"]]))
    | a | b |
    |---|---|
    | 1 | 2 |
    """
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def over_seeds(runs: Sequence[Run], value: Callable[[Run], float]) -> Estimate:
    """A figure of runs that differ by their seed."""
    return estimate([value(run) for run in runs])


def paired(group: Group, a: str, b: str, value: Callable[[Run], float]) -> Estimate | None:
    """How far `a` lies above `b`, seed by seed: what a seed does to both cancels."""
    other = {run.seed: run for run in group.of(b)}
    gaps = [value(r) - value(other[r.seed]) for r in group.of(a) if r.seed in other]
    return estimate(gaps) if gaps else None


def table(group: Group) -> str:
    """One row a strategy, the best first; what is of full is of full fine-tuning's."""
    full = group.of(YARDSTICK)
    worlds = group.runs[0].worlds if len(group.runs[0].worlds) <= 6 else []
    looked = all(run.held_out is not None for run in group.runs)
    head = [
        "strategy",
        "accuracy %",
        *["held-out %"] * looked,
        "to full",
        *[f"{w} %" for w in worlds],
        "training s",
    ]
    head += ["of full", "training TFLOP", "wall s", "steps", "peak MiB"]
    head += ["skipped %", "longest queue"] if group.runs[0].data["real_time"] else []
    rows = []
    for label in group.labels:
        runs = group.of(label)
        gap = paired(group, label, YARDSTICK, lambda r: r.accuracy)
        seconds = over_seeds(runs, lambda r: r.train_s)
        of_full = seconds.mean / over_seeds(full, lambda r: r.train_s).mean if full else None
        row = [label, over_seeds(runs, lambda r: r.accuracy).text(scale=100)]
        if looked:
            row.append(over_seeds(runs, lambda r: r.held_out or 0.0).text(scale=100))
        row.append("" if gap is None else gap.text(scale=100, sign=True))
        for i in range(len(worlds)):
            accuracy = estimate([r.world_accuracies()[i] for r in runs])
            row.append(f"{100 * accuracy.mean:.1f}")
        row += [seconds.text(), "" if of_full is None else f"{of_full:.2f}"]
        row.append(over_seeds(runs, lambda r: r.train_tflop).text(2))
        wall = over_seeds(runs, lambda r: r.data["seconds"]["wall"])
        row.append(wall.text() if group.clock == "wall" else "")
        row.append(f"{over_seeds(runs, lambda r: sum(r.data['batches']['trained'])).mean:.0f}")
        row.append(f"{over_seeds(runs, _peak_mib).mean:.0f}")
        if paced := [r.data["real_time"] for r in runs if r.data["real_time"]]:
            skipped = estimate(
                [p["skipped"] / r.data["samples"] for p, r in zip(paced, runs, strict=True)]
            )
            row += [skipped.text(scale=100), f"{max(p['longest_queue'] for p in paced)}"]
        rows.append(row)
    return markdown(head, rows)


def _peak_mib(run: Run) -> float:
    return float(run.data["peak_memory_bytes"]) / 2**20
