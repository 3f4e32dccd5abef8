"""The paper's table as a page, from the runs of `learndrop bench --epochs` and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from learndrop.bench.pages.estimates import estimate
from learndrop.bench.pages.tables import markdown

FULL, OURS, SHORT = "full", "learndrop", "full, same seconds"
FORWARD = {"vgg11": 0.1783, "resnet152": 0.8374}  # what the paper reports as saved
HALVED = 0.5  # of full's seconds; VGG-11 is left out
LOST = 0.005  # of accuracy

Run = dict[str, Any]
Groups = dict[tuple[str, str, str], list[Run]]


def page(runs: Sequence[Run]) -> str:
    """What was trained, the table, and each aim with its figure."""
    machine = runs[0]["machine"]
    sizes = "; ".join(sorted({_size(run) for run in runs}))
    told = (
        f"{len(runs)} trainings, each on one thread of {machine['processor']} (torch"
        f" {machine['torch']}, {machine['precision']['dtype']}); seconds are processor seconds."
        f" {sizes}."
    )
    return "\n\n".join([told, table(runs), "## Against the aims", _aims(grouped(runs))]) + "\n"


def _size(run: Run) -> str:
    job = run["job"]
    return (
        f"{run['network']} on {run['data']}: {run['images']} images, {job['held_out']} held out,"
        f" batches of {job['settings'].get('batch')}, rate {job['settings'].get('rate')}"
    )


def grouped(runs: Sequence[Run]) -> Groups:
    """Runs by data set, network and strategy, full training first; only seeds that have all."""
    groups: Groups = {}
    order = (FULL, OURS, SHORT)
    for run in sorted(
        runs, key=lambda r: (r["data"], r["network"], order.index(r["strategy"]), r["seed"])
    ):
        groups.setdefault((run["data"], run["network"], run["strategy"]), []).append(run)
    return groups


def table(runs: Sequence[Run]) -> str:
    """A Markdown table: one row for each data set, network and strategy, means over the seeds."""
    head = [
        "data", "network", "strategy", "epochs", "held-out accuracy %", "against full",
        "training s", "of full", "forward FLOPs saved %", "all FLOPs saved %",
        "units out at the end", "seeds",
    ]  # fmt: skip
    groups = grouped(runs)
    lines = []
    for (data, network, strategy), same in groups.items():
        full = groups[data, network, FULL]
        gap = estimate(_gaps(same, full))
        lines.append([
            data, network, strategy, f"{fmean(r['job']['epochs'] for r in same):.1f}",
            estimate([r["accuracy"] for r in same]).text(scale=100),
            "" if strategy == FULL else gap.text(scale=100, sign=True),
            f"{_mean(same, 'seconds'):.1f}", f"{_ratio(same, full):.2f}",
            f"{100 * _mean(same, 'forward_saved'):.1f}", f"{100 * _mean(same, 'saved'):.1f}",
            f"{_mean(same, 'depth'):.1f} of {same[0]['units']}", str(len(same)),
        ])  # fmt: skip
    return markdown(head, lines)


def _aims(groups: Groups) -> str:
    head = ["data, network", "what", "aim", "measured", "reached"]
    rows = []
    for (data, network, strategy), ours in groups.items():
        if strategy != OURS:
            continue
        full = groups[data, network, FULL]
        name = f"{data}, {network}"
        if network in FORWARD:
            saved, aim = _mean(ours, "forward_saved"), FORWARD[network]
            rows.append(
                _row(name, "forward FLOPs saved", f"{aim:.2%}", f"{saved:.2%}", saved > aim)
            )
        if network != "vgg11":
            share = _ratio(ours, full)
            told = f"below {HALVED}", f"{share:.2f}"
            rows.append(_row(name, "seconds, of full's", *told, share < HALVED))
        lost = -fmean(_gaps(ours, full))
        told = f"at most {100 * LOST}", f"{100 * lost:.1f}"
        rows.append(_row(name, "points of accuracy lost", *told, lost <= LOST))
        if short := groups.get((data, network, SHORT)):
            gained = fmean(_gaps(ours, short))
            told = "above 0", f"{100 * gained:+.1f}"
            rows.append(
                _row(name, "points over full training of the same seconds", *told, gained > 0)
            )
    return markdown(head, rows)


def _row(name: str, what: str, aim: str, measured: str, reached: bool) -> list[str]:
    return [name, what, aim, measured, "yes" if reached else "**no**"]


def _gaps(runs: Sequence[Run], others: Sequence[Run]) -> list[float]:
    """Differences of accuracy seed by seed."""
    theirs = {run["seed"]: run["accuracy"] for run in others}
    return [run["accuracy"] - theirs[run["seed"]] for run in runs if run["seed"] in theirs]


def _ratio(runs: Sequence[Run], full: Sequence[Run]) -> float:
    theirs = {run["seed"]: run["seconds"] for run in full}
    return fmean(run["seconds"] / theirs[run["seed"]] for run in runs if run["seed"] in theirs)


def _mean(runs: Sequence[Run], key: str) -> float:
    return fmean(float(run[key]) for run in runs)
