"""The figures that the engine is held to, each beside its aim: reached or not."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from learndrop.bench.faults import fault
from learndrop.bench.pages.against_plain import against_cheaper, against_the_best
from learndrop.bench.pages.figure import Figure, accuracy, plays_drifts
from learndrop.bench.pages.frontier import KEEPING_UP, OURS
from learndrop.bench.pages.runs import Group, Run
from learndrop.bench.pages.tables import YARDSTICK, markdown, over_seeds, paired
from learndrop.bench.pages.within_worlds import recovery, settled_pace


def aims(groups: Sequence[Group]) -> str:
    """Tables of all figures that the runs allow, a section a group."""
    parts = []
    for group in groups:
        figures = [f for measure in MEASURES for f in measure(group)]
        if figures:
            table = markdown(["what", "aim", "measured", "reached"], [f.row for f in figures])
            parts.append(f"### {group.name}\n\n{table}")
    return "\n\n".join(parts)


def depth_located(group: Group) -> list[Figure]:
    """Which unit the learner names when the weights of one were disturbed."""
    if group.runs[0].job["stream"] != "block":
        return []
    told, hits = [], 0
    runs = [run for run in group.of(OURS) if fault(run.worlds[-1])]
    for run in sorted(runs, key=lambda r: (r.seed, r.worlds)):
        struck = int(run.worlds[-1].removeprefix("block")) % run.data["units"]
        named = located(run)
        hits += named is not None and abs(named - struck) <= 1
        told.append(f"{struck}: {'not noticed' if named is None else named}")
    if not told:
        return []
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
    gap = paired(group, YARDSTICK, OURS, accuracy)
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
    if not (plays_drifts(group) and group.of(OURS)):
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
    gap = paired(group, "freeze only", OURS, accuracy)
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
        gap = paired(group, label, YARDSTICK, accuracy)
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
