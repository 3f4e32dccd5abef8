"""What learndrop does within a world: its pace once it has settled, and its way back after a
change.
"""

from __future__ import annotations

from statistics import fmean

from learndrop.bench.pages.figure import Figure, plays_drifts
from learndrop.bench.pages.frontier import OURS
from learndrop.bench.pages.runs import Group, Run
from learndrop.bench.pages.tables import YARDSTICK

LEVEL = 0.95  # of what full training reaches at the end of a world: recovered
END = 0.2  # share of a world that is its end
SETTLED_SAMPLES = 512  # fewest for a figure of steps a second


def settled_pace(group: Group) -> list[Figure]:
    """Training steps a second where learndrop has dropped as deep as it did in that world, the
    windows in which that is thawed included."""
    if not plays_drifts(group):
        return []
    full = {run.seed: run for run in group.of(YARDSTICK)}
    pairs = [(run, full[run.seed]) for run in group.of(OURS) if run.seed in full]
    whole = [r for a, b in pairs for r in _paces(a, b, "train_s")]
    if not whole:
        return []
    told = f"{fmean(whole):.1f} x"
    if all("step_s" in run.data["batches"] for pair in pairs for run in pair):  # not at first
        alone = [r for a, b in pairs for r in _paces(a, b, "step_s")]
        told += f"; the steps alone {fmean(alone):.1f} x"
    what = "training steps a second in the settled part of a world, against full's there"
    return [Figure(what, "8 x", f"{told} ({len(whole)} worlds)", fmean(whole) >= 8)]


def _paces(ours: Run, full: Run, seconds: str) -> list[float]:
    paces = []
    depth, thawed = ours.column("depth"), ours.thawed()
    for begin, end in zip(ours.begins, ours.ends, strict=True):
        these = ours.within(begin, end)
        deepest = depth[these].max()
        settled = these & ((depth == deepest) | thawed)
        if deepest and ours.column("count")[settled].sum() >= SETTLED_SAMPLES:
            ours_s, full_s = (float(r.column(seconds)[settled].sum()) for r in (ours, full))
            ours_n, full_n = (float(r.column("trained")[settled].sum()) for r in (ours, full))
            # older runs kept five decimals, which a step on the head alone does not fill
            if ours_s and full_s:
                paces.append((ours_n / ours_s) / (full_n / full_s))
    return paces


def recovery(group: Group) -> list[Figure]:
    """Samples until the level that full training reaches is near."""
    if group.runs[0].job["stream"] not in {"abrupt", "swap", "recurring", "rotation"}:
        return []
    if group.runs[0].job["rate"]:
        return []
    full = {run.seed: run for run in group.of(YARDSTICK)}
    pairs = [(run, full[run.seed]) for run in group.of(OURS) if run.seed in full]
    figures = []
    for world in range(1, len(group.runs[0].worlds) if pairs else 0):
        mine, theirs = [], []
        for run, yardstick in pairs:
            begin, end = yardstick.begins[world], yardstick.ends[world]
            level = LEVEL * yardstick.accuracy_within(end - int(END * (end - begin)), end)
            mine.append(run.recovered_after(world, level) or end - begin)
            theirs.append(yardstick.recovered_after(world, level) or end - begin)
        figures.append(
            Figure(
                f"samples to {LEVEL:.0%} of full training's level: {group.runs[0].worlds[world]}",
                f"at most full's {fmean(theirs):.0f}",
                f"{fmean(mine):.0f} (seeds: {', '.join(map(str, mine))})",
                fmean(mine) <= fmean(theirs),
            )
        )
    return figures
