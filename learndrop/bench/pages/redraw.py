"""Every table and plot, drawn from the JSON of the runs in a folder and from nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from learndrop.bench.pages import epoch_table, rank_table
from learndrop.bench.pages.aims import aims
from learndrop.bench.pages.curves import plot_curves
from learndrop.bench.pages.frontier import plot_frontier
from learndrop.bench.pages.runs import Group, grouped, read_runs
from learndrop.bench.pages.tables import table
from learndrop.disk.files import write_atomic
from learndrop.errors import BadInput

RUNS = "runs"
TABLES = "frontier.md"
FEWEST_STRATEGIES = 3  # for a plot of a frontier

# pages of other experiments: each named as the folder of its runs, beside it
PAGES: dict[str, Callable[[Sequence[dict[str, Any]]], str]] = {
    "epochs": epoch_table.page,
    "scores": rank_table.page,
}


def redraw_all(out: Path) -> list[Path]:
    """Draw every page that the folders of runs in `out` allow.

    Raises:
        BadInput: if there are no runs.
        DamagedFile: if a file there is none.
    """
    written = [redraw_page(out, name) for name in PAGES if any((out / name).glob("*.json"))]
    if not written or any((out / RUNS).glob("*.json")):
        written.insert(0, redraw(out))
    return written


def redraw_page(out: Path, name: str) -> Path:
    """Draw the page `out`/NAME.md of the runs in `out`/NAME.

    Raises:
        BadInput: if there are no runs.
    """
    runs = [json.loads(path.read_text()) for path in sorted((out / name).glob("*.json"))]
    if not runs:
        raise BadInput(f"{out / name} has no runs", item=name)
    path = out / f"{name}.md"
    write_atomic(path, PAGES[name](runs).encode())
    return path


def redraw(out: Path) -> Path:
    """Draw what the runs in `out`/runs allow; the page that shows it all.

    Raises:
        BadInput: if there are no runs.
        DamagedFile: if a file there is none.
    """
    groups = grouped(read_runs(out / RUNS))
    for group in groups:
        if _has_plots(group):
            _plot(group, out)
    path = out / TABLES
    write_atomic(path, page(groups).encode())
    return path


def page(groups: Sequence[Group]) -> str:
    """Tables of all groups and the figures against their aims, in Markdown."""
    parts = [_section(group) for group in groups if _has_plots(group)]
    machine = groups[0].runs[0].data["machine"]
    precision = machine["precision"]
    cores = machine["cores"]
    told = (
        f"{sum(len(g.runs) for g in groups)} runs on {cores} core{'s' * (cores != 1)}"
        f" ({machine['processor']}, torch {machine['torch']}, {machine['device']},"
        f" {precision['dtype']}, {precision['memory_format']}). Training seconds are all seconds"
        " but those of the answers that every strategy owes; ± is a 95 % interval over seeds,"
        " `to full` the difference to full fine-tuning seed by seed, `wall s` the whole run."
    )
    return "\n\n".join([told, *parts, "## Against the aims", aims(groups)]).strip() + "\n"


def _section(group: Group) -> str:
    lines = [f"## {group.name}", f"{group.title}.", table(group)]
    if len(group.labels) >= FEWEST_STRATEGIES:
        lines.append(f"![Accuracy over cost]({group.name}-frontier.png)")
    lines.append(f"![Accuracy over samples]({group.name}-curves.png)")
    return "\n\n".join(lines)


def _plot(group: Group, out: Path) -> None:
    if len(group.labels) >= FEWEST_STRATEGIES:
        plot_frontier(group, out / f"{group.name}-frontier.png")
    plot_curves(group, out / f"{group.name}-curves.png")


def _has_plots(group: Group) -> bool:
    """Noise in each unit in turn is one figure, and no comparison."""
    return bool(group.runs[0].job["stream"] != "block")
