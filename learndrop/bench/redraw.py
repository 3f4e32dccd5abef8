"""Every table and plot, drawn from the JSON of the runs in a folder and from nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from learndrop.bench.aims import aims
from learndrop.bench.curves import plot_curves
from learndrop.bench.frontier import plot_frontier
from learndrop.bench.runs import Group, grouped, read_runs
from learndrop.bench.tables import table
from learndrop.files import write_atomic

RUNS = "runs"
TABLES = "frontier.md"
FEWEST_STRATEGIES = 3  # for a plot of a frontier


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
