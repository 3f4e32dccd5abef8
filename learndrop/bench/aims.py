"""The figures that the engine is held to, each beside its aim: reached or not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from learndrop.bench.frontier import KEEPING_UP, OURS
from learndrop.bench.runs import Group, Run
from learndrop.bench.tables import YARDSTICK, markdown, over_seeds, paired

PLAIN = (
    "full fine-tuning",
    "drift-aware thinning",
    "full with replays",
    "full, same seconds",
    "full, same share of samples",
)
LEVEL = 0.95  # of what full training reaches at the end of a world: recovered
END = 0.2  # share of a world that is its end
SETTLED_SAMPLES = 512  # fewest for a figure of steps a second


@dataclass(frozen=True)
class Figure:
    """One row: what was measured against what; `reached` is None where there is no aim to hold."""

    what: str
    aim: str
    measured: str
    reached: bool | None

    @property
    def row(self) -> list[str]:
        """As a row of a table."""
        told = {True: "yes", False: "**no**", None: ""}[self.reached]
        return [self.what, self.aim, self.measured, told]


def aims(groups: Sequence[Group]) -> str:
    """Tables of all figures that the runs allow, a section a group."""
    parts = []
    for group in groups:
        figures = [f for measure in MEASURES for f in measure(group)]
        if figures:
            table = markdown(["what", "aim", "measured", "reached"], [f.row for f in figures])
            parts.append(f"### {group.name}\n\n{table}")
    return "\n\n".join(parts)


def _mean(runs: Sequence[Run], value: Callable[[Run], float]) -> float:
    return fmean(value(run) for run in runs)


def _accuracy(run: Run) -> float:
    return run.accuracy


def _seconds(run: Run) -> float:
    return run.train_s


def _plays_drifts(group: Group) -> bool:
    job = group.runs[0].job
    return not job["rate"] and job["stream"] not in {"block", "stationary"}


def against_the_best(group: Group) -> list[Figure]:
    """Learndrop against the best plain run, whatever that one cost."""
    plain = [n for f in PLAIN for n in group.family(f)]
    if not (_plays_drifts(group) and plain and group.of(OURS)):
        return []
    best = max(plain, key=lambda n: _mean(group.of(n), _accuracy))
    gap = paired(group, best, OURS, _accuracy)
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
    if not (_plays_drifts(group) and group.of(OURS)):
        return []
    figures = []
    ours_s, ours = _mean(group.of(OURS), _seconds), _mean(group.of(OURS), _accuracy)
    for family, aim in (("full fine-tuning", 4.0), ("drift-aware thinning", 1.5)):
        points = sorted(
            (_mean(group.of(n), _seconds), _mean(group.of(n), _accuracy))
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
        if _mean(group.of(n), _seconds) < ours_s and _mean(group.of(n), _accuracy) > ours
    ]
    told = ", ".join(dominating) or "none"
    figures.append(
        Figure("plain controls that are cheaper and better", "none", told, not dominating)
    )
    return figures


def settled_pace(group: Group) -> list[Figure]:
    """Training steps a second where learndrop has dropped as deep as it did in that world, the
    windows in which that is thawed included."""
    if not _plays_drifts(group):
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


def depth_located(group: Group) -> list[Figure]:
    """Which unit the learner names when the weights of one were disturbed."""
    if group.runs[0].job["stream"] != "block":
        return []
    told, hits = [], 0
    for run in sorted(group.runs, key=lambda r: (r.seed, r.job["worlds"])):
        struck = int(run.job["worlds"][-1].removeprefix("block")) % run.data["units"]
        named = located(run)
        hits += named is not None and abs(named - struck) <= 1
        told.append(f"{struck}: {'not noticed' if named is None else named}")
    return [
        Figure(
            "unit named for noise in one unit (struck: named)",
            "right or its neighbour in 9 of 10",
            f"{hits} of {len(told)} ({'; '.join(told)})",
            hits >= 0.9 * len(told),
        )
    ]


def located(run: Run) -> int | None:
    """The unit that the first verdict after the noise names; the head where it says that the
    pictures and all maps are as before; None where no drift was noticed."""
    struck = run.begins[-1]
    verdicts = [e for e in run.events("reset") if e["samples"] > struck and "onset" in e["detail"]]
    if not verdicts:
        return None
    onset = verdicts[0]["detail"]["onset"]
    return int(run.data["units"]) - 1 if onset is None else max(0, int(onset) - 1)


def stationary(group: Group) -> list[Figure]:
    """Nothing changes: nothing may be reset, and drops may cost next to nothing."""
    if group.runs[0].job["stream"] != "stationary":
        return []
    resets = sum(len(run.events("drift", "reset")) for run in group.of(OURS))
    samples = sum(int(run.data["samples"]) for run in group.of(OURS))
    figures = [Figure(f"drifts and resets in {samples:,} samples", "0", f"{resets}", resets == 0)]
    gap = paired(group, YARDSTICK, OURS, _accuracy)
    if gap is not None:
        told = f"{gap.text(scale=100, digits=2, sign=True)} points"
        figures.append(
            Figure("full training above learndrop", "at most 0.3 points", told, gap.mean <= 0.003)
        )
    return figures


def guards(group: Group) -> list[Figure]:
    """FLOPs of all that only looks: at weights after a drift, by candidates, the codec's gate and
    scores of outputs, not by what measures versions: a bench publishes none. Runs from before
    these were counted have no figure."""
    ours = group.of(OURS)
    if not any(run.guard_flops for run in ours):
        return []
    full = over_seeds(ours, lambda r: r.guard_flops / r.data["flops"]["full"])
    done = over_seeds(ours, lambda r: r.guard_flops / r.data["flops"]["done"])
    told = f"{full.text(scale=100, digits=2)} % ({done.text(scale=100, digits=2)} % of its own)"
    what = "learndrop's guards' share of FLOPs, of what full training costs"
    return [Figure(what, "at most 2 %", told, full.mean <= 0.02)]


def store(group: Group) -> list[Figure]:
    """What the stored maps weigh, and what they cost in accuracy against no store at all."""
    if not (_plays_drifts(group) and group.of(OURS)):
        return []
    largest = max((run.data["store"] for run in group.of(OURS)), key=lambda s: int(s["bytes"]))
    most = max(run.data["store"]["most_bytes_a_raw_byte"] for run in group.of(OURS))
    figures = [
        Figure(
            "bytes of stored maps for each byte of the same samples' pixels, at most",
            "2",
            f"{most:.2f} ({largest['bytes'] / 2**20:.1f} MiB at the largest)",
            most <= 2,
        )
    ]
    gap = paired(group, "freeze only", OURS, _accuracy)
    if gap is not None:
        told = f"{gap.text(scale=100, digits=2, sign=True)} points"
        figures.append(
            Figure("freezing without a store above learndrop", "at most 0.2 points", told,
                   gap.mean <= 0.002)
        )  # fmt: skip
    return figures


def real_time(group: Group) -> list[Figure]:
    """Samples come faster than full training can learn them."""
    if not group.runs[0].job["rate"]:
        return []
    figures = []
    for label in (OURS, KEEPING_UP):
        if not (mine := group.of(label)):
            continue
        skipped = over_seeds(mine, lambda r: r.data["real_time"]["skipped"] / r.data["samples"])
        figures.append(
            Figure(f"samples that {label} has to skip", "0 %", f"{skipped.text(scale=100)} %",
                   skipped.mean == 0)
        )  # fmt: skip
        gap = paired(group, label, YARDSTICK, _accuracy)
        if gap is not None:
            told = f"{gap.text(scale=100, digits=2, sign=True)} points"
            what = f"{label} above full fine-tuning that skips, over all arrivals"
            figures.append(Figure(what, "2 points", told, gap.mean >= 0.02))
    return figures


MEASURES: tuple[Callable[[Group], list[Figure]], ...] = (
    against_the_best,
    against_cheaper,
    settled_pace,
    recovery,
    depth_located,
    stationary,
    guards,
    store,
    real_time,
)
