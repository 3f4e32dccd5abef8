"""What the demo leaves behind: a table by phase, a plot, and curl lines to go on with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from rich.table import Table

from deploy.demo.phases import LETTERS, Record, Row, rows, saved

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe-Ito; dropped is dark so that what left training recedes.
FILL = {
    "training": "#56b4e9",
    "frozen": "#f0e442",
    "dropped": "#3b4248",
    "returned": "#e69f00",
    "thawed": "#0072b2",
}
INK = dict.fromkeys(FILL, "black") | {"dropped": "white", "thawed": "white"}
MARKS = {
    "drift": ("v", "#d55e00"),
    "return": ("^", "#e69f00"),
    "thaw": ("^", "#0072b2"),
    "reset": ("s", "#e69f00"),
    "drop": ("o", "#3b4248"),
    "rollback": ("x", "#d55e00"),
}
COLUMNS = (
    "samples",
    "accuracy",
    "most dropped",
    "at end",
    "FLOPs saved",
    "drifts",
    "answered",
    "right",
    "seconds",
)
EVENT_ROWS = ("drift", "return", "reset", "drop", "thaw", "rollback")


def table(record: Record) -> Table:
    """The table by phase, for a terminal or a file."""
    out = Table(title=_title(record), title_justify="left", title_style="bold")
    out.add_column("phase", no_wrap=True)
    for name in COLUMNS:
        out.add_column(name, justify="right")
    for row in rows(record):
        out.add_row(*_cells(row))
    whole = [row for row in rows(record)]
    if whole:
        out.add_section()
        out.add_row(*_cells(_total(record, whole)))
    return out


def plot(record: Record, path: Path) -> None:
    """Write the PNG: accuracy over samples, state of each unit below, events at the bottom."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    units = max(4, len(record.unit_names))  # fewer would leave no room for the legend
    figure, axes = pyplot.subplots(
        3,
        1,
        figsize=(11, 4.2 + 0.26 * units + 1.2),
        sharex=True,
        height_ratios=[3.4, 0.26 * units + 0.3, 1.1],
        layout="constrained",
    )
    try:
        top, middle, bottom = axes
        _draw_accuracy(top, record)
        _draw_units(middle, record)
        _draw_events(bottom, record)
        last = record.readings[-1].samples if record.readings else 1
        bottom.set_xlim(0, max(last, 1))
        bottom.set_xlabel("samples learned")
        figure.suptitle(_title(record), x=0.01, ha="left", fontsize=12, fontweight="bold")
        figure.savefig(path, dpi=130)
    finally:
        pyplot.close(figure)


def spans(record: Record, position: int) -> list[tuple[int, int, str]]:
    """Stretches of one unit's states as (from, to, state), in samples."""
    out: list[tuple[int, int, str]] = []
    for reading in record.readings:
        if position >= len(reading.states):
            continue
        state = reading.states[position]
        start = out[-1][1] if out else 0
        if out and out[-1][2] == state:
            out[-1] = (out[-1][0], reading.samples, state)
        else:
            out.append((start, reading.samples, state))
    return [span for span in out if span[1] > span[0]]


def curl_lines(url: str, picture: Path, label: str) -> list[str]:
    """Commands that work against the service as the demo leaves it."""
    return [
        f"curl -s {url}/v1/state",
        f"curl -s -F {quote(f'images=@{picture}')} {url}/v1/predictions",
        f"curl -s -F {quote(f'images=@{picture}')} -F {quote(f'labels={label}')} {url}/v1/samples",
    ]


def _title(record: Record) -> str:
    share = saved(record)
    told = f"learndrop on {record.data_name}, {record.network}"
    return told if share is None else f"{told}: {100 * share:.0f} % of training FLOPs saved"


def _total(record: Record, parts: Sequence[Row]) -> Row:
    return Row(
        title="whole run",
        samples=sum(row.samples for row in parts),
        accuracy=parts[-1].accuracy,
        deepest=max(row.deepest for row in parts),
        depth=parts[-1].depth,
        units=parts[-1].units,
        saved=saved(record),
        drifts=sum(row.drifts for row in parts),
        asked=sum(row.asked for row in parts),
        right=sum(row.right for row in parts),
        seconds=sum(row.seconds for row in parts),
    )


def _cells(row: Row) -> list[str]:
    return [
        row.title,
        f"{row.samples:,}",
        "--" if row.accuracy is None else f"{100 * row.accuracy:.1f} %",
        f"{row.deepest} of {row.units}",
        str(row.depth),
        "--" if row.saved is None else f"{100 * row.saved:.0f} %",
        str(row.drifts),
        f"{row.asked:,}",
        "--" if not row.asked else f"{100 * row.right / row.asked:.0f} %",
        f"{row.seconds:.0f}",
    ]


def _draw_accuracy(axes: Axes, record: Record) -> None:
    known = [r for r in record.readings if r.accuracy is not None]
    axes.plot(
        [r.samples for r in known],
        [100 * (r.accuracy or 0.0) for r in known],
        color="#009e73",
        linewidth=2,
        label="test-then-train accuracy of arriving samples",
    )
    _draw_answers(axes, record)
    axes.set_ylim(-3, 106)
    axes.set_ylabel("accuracy, %")
    axes.grid(axis="y", alpha=0.25)
    _mark_phases(axes, record, named=True)
    _mark_drifts(axes, record)
    axes.legend(loc="lower right", fontsize=8, framealpha=0.9)


def _draw_answers(axes: Axes, record: Record) -> None:
    points = [(samples, 100 * right / asked) for samples, asked, right in answered(record) if asked]
    if points:
        axes.scatter(
            [samples for samples, _ in points],
            [share for _, share in points],
            s=9,
            color="#0072b2",
            alpha=0.45,
            linewidths=0,
            label="answers over HTTP on held-out images",
        )


def answered(record: Record, bins: int = 60) -> list[tuple[float, int, int]]:
    """Answers gathered into at most `bins` stretches of samples: (middle, asked, right)."""
    last = record.readings[-1].samples if record.readings else 0
    if not last:
        return []
    out: dict[int, tuple[int, int]] = {}
    for answer in record.answers:
        key = min(bins - 1, answer.samples * bins // last)
        asked, right = out.get(key, (0, 0))
        out[key] = asked + answer.asked, right + answer.right
    return [((key + 0.5) * last / bins, *out[key]) for key in sorted(out)]


def _draw_units(axes: Axes, record: Record) -> None:
    last = record.readings[-1].samples if record.readings else 1
    for position in range(len(record.unit_names)):
        for start, end, state in spans(record, position):
            axes.broken_barh(
                [(start, end - start)], (position - 0.42, 0.84), facecolor=FILL.get(state, "white")
            )
            if end - start > 0.015 * last:
                axes.annotate(
                    LETTERS.get(state, "?"),
                    (start, position),
                    xytext=(4, 0),
                    textcoords="offset points",
                    va="center",
                    fontsize=7,
                    color=INK.get(state, "black"),
                )
    axes.set_yticks(range(len(record.unit_names)), record.unit_names, fontsize=8)
    axes.set_ylim(len(record.unit_names) - 0.4, -0.6)
    axes.set_ylabel("units")
    for state, letter in LETTERS.items():
        axes.barh(0, 0, color=FILL[state], label=f"{letter} {state}")
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        ncols=len(LETTERS),
        fontsize=8,
        frameon=False,
        borderpad=0,
    )
    _mark_phases(axes, record, named=False)


def _draw_events(axes: Axes, record: Record) -> None:
    present = [kind for kind in EVENT_ROWS if any(e["type"] == kind for e in record.events)]
    for row, kind in enumerate(present):
        marker, colour = MARKS[kind]
        at = [int(event["samples"]) for event in record.events if event["type"] == kind]
        axes.scatter(at, [row] * len(at), marker=marker, color=colour, s=42)
    axes.set_yticks(range(len(present)), present, fontsize=8)
    axes.set_ylim(len(present) - 0.4, -0.6)
    axes.set_ylabel("events")
    axes.grid(axis="y", alpha=0.2)
    _mark_phases(axes, record, named=False)


def _mark_phases(axes: Axes, record: Record, *, named: bool) -> None:
    last = record.readings[-1].samples if record.readings else 1
    for index, start in enumerate(record.starts):
        phase = record.phases[index]
        if start > last:
            break
        if start:
            style = "-" if phase.change else ":"
            axes.axvline(start, color="black", linewidth=0.8, linestyle=style, alpha=0.6)
        if named and (phase.change or index == 0):
            axes.annotate(
                phase.change or "first world",
                (start, 106),
                xytext=(3, -11),
                textcoords="offset points",
                fontsize=8,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0, "alpha": 0.85},
            )


def _mark_drifts(axes: Axes, record: Record) -> None:
    label: str | None = "drift noticed"
    for event in record.events:
        if event["type"] == "drift":
            axes.axvline(
                int(event["samples"]), color="#d55e00", linewidth=1.4, linestyle="--", label=label
            )
            label = None
