"""How the command shows things to people: tables on a terminal, tab-separated lines in a pipe."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

STYLES = {
    "dropped": "dim",
    "frozen": "yellow",
    "returned": "dark_orange",
    "thawed": "blue",
    "training": "cyan",
}
EVENTS_SHOWN = 5


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], styles: Any = None) -> None:
    """Print rows: a table on a terminal, tab-separated lines anywhere else."""
    if not sys.stdout.isatty():
        for row in (columns, *rows):
            print("\t".join(" ".join(cell.split()) for cell in row))
        return
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        shown.add_column(column, overflow="fold")
    for row in rows:
        shown.add_row(*(Text(cell, STYLES.get(cell, "")) for cell in row))
    Console().print(shown)


def settings_table(rows: Sequence[Mapping[str, object]]) -> str:
    """The defaults of all settings as a Markdown table, as the README shows it.

    >>> row = {"variable": "A", "default": [1, 2], "meaning": "Some numbers."}
    >>> print(settings_table([row]))
    | variable | default | meaning |
    |---|---|---|
    | `A` | `[1, 2]` | Some numbers. |
    """
    lines = ["| variable | default | meaning |", "|---|---|---|"]
    for row in rows:
        default = row["default"]
        told = f"`{default}`" if default != "" else "empty"
        lines.append(f"| `{row['variable']}` | {told} | {row['meaning']} |")
    return "\n".join(lines)


def render(state: Mapping[str, Any]) -> None:
    """Print the body of GET /v1/state."""
    for line in summary(state):
        print(line)
    drop = state.get("drop") or {}
    rows = [
        (f"{unit['position']}", str(unit["name"]), str(unit["state"]), str(unit.get("why") or ""))
        for unit in drop.get("units") or ()
    ]
    if rows:
        print()
        table(("#", "unit", "state", "why"), rows)
    events = [event for event in state.get("events") or () if event["type"] != "publish"]
    newest = sorted(events, key=lambda event: float(event["time"]))[-EVENTS_SHOWN:]
    if newest:
        print()
        table(
            ("when", "samples", "event", "cause"),
            [(ago(e["time"]), f"{e['samples']:,}", e["type"], str(e["cause"])) for e in newest],
        )


def summary(state: Mapping[str, Any]) -> list[str]:
    """The figures of a state, a line each."""
    counts, drop = state.get("samples") or {}, state.get("drop") or {}
    accuracy = (state.get("prequential") or {}).get("accuracy")
    flops = state.get("flops") or {}
    version = (state.get("model") or {}).get("version")
    gap = (state.get("stream") or {}).get("gap")
    done, full = float(flops.get("done") or 0), float(flops.get("full") or 0)
    return [
        "accuracy  " + ("nothing learned yet" if accuracy is None else f"{100 * accuracy:.1f} %"),
        "samples   "
        + ", ".join(
            f"{counts.get(k, 0):,} {k}" for k in ("accepted", "learned", "buried", "deleted")
        )
        + f", {counts.get('pending', 0):,} pending",
        f"dropped   {drop.get('depth', 0)} of {drop.get('total', 0)} units"
        + (f", {told_saving(done, full)}" if full else ""),
        *([f"gap       {gap['why']}"] if gap else []),
        "model     " + ("none yet" if version is None else f"version {version}"),
    ]


def told_saving(done: float, full: float) -> str:
    """What dropping saved of the FLOPs of full training, or cost beyond them.

    >>> told_saving(40.0, 100.0), told_saving(175.0, 100.0)
    ('60 % of training FLOPs saved', '75 % more training FLOPs than full training so far')
    """
    share = round(100 * (1 - done / full))
    if share < 0:  # young: replays and probes come first, drops later
        return f"{-share} % more training FLOPs than full training so far"
    return f"{share} % of training FLOPs saved"


def told_fate(fate: Mapping[str, Any]) -> str:
    """The body of GET /v1/samples/{sample_id} in words.

    >>> told_fate({"status": "learned", "model_version": 3})
    'learned, first in model version 3'
    >>> told_fate({"status": "buried", "reason": "wrong_size", "why": "8 x 8, not 32 x 32"})
    'buried (wrong_size): 8 x 8, not 32 x 32'
    """
    if fate["status"] == "learned":
        version = fate["model_version"]
        return "learned, " + (
            "in no model version yet" if version is None else f"first in model version {version}"
        )
    if fate["status"] == "buried":
        return f"buried ({fate['reason']}): {fate['why']}"
    return str(fate["status"])


def told_deletion(receipt: Mapping[str, Any]) -> list[str]:
    """The receipt of a deletion in lines."""
    stream = {
        "waiting": "taken off the stream before it was learned",
        "seen": "taken off the stream; the learner had seen it",
        "gone": "not on the stream any more",
    }
    gone = [f"dead letter {i}" for i in receipt["dead_letters"]]
    gone += [f"prediction {receipt['prediction']}"] if receipt["prediction"] else []
    worker = "the worker has not looked yet"
    if receipt["forgotten_s"]:
        was = "was" if receipt["replayed"] else "was not"
        worker = f"replay buffer and stored maps are free of it (it {was} there)"
    checkpoints = f"checkpoints are free of it within {receipt['erase_within_s']:g} s"
    if receipt["done"]:
        checkpoints = "no checkpoint has it"
    lines = [stream[receipt["stream"]], *(f"{one} thrown away" for one in gone), worker]
    lines += [checkpoints, receipt["weights"]]
    return lines + [f"not reached: {one}" for one in receipt["not_reached"]]


def ago(unix_s: float, now_s: float | None = None) -> str:
    """A time as a distance from now.

    >>> ago(100.0, 130.0), ago(100.0, 400.0), ago(0.0, 90000.0)
    ('30 s ago', '5 min ago', '25 h ago')
    """
    seconds = max(0.0, (time.time() if now_s is None else now_s) - unix_s)
    if seconds < 120:
        return f"{seconds:.0f} s ago"
    return f"{seconds / 60:.0f} min ago" if seconds < 7200 else f"{seconds / 3600:.0f} h ago"


@contextmanager
def progress_bar(total: int) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal's standard error, nothing elsewhere; gives a function to advance it."""
    console = Console(stderr=True)
    bar = Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with bar:
        task = bar.add_task("", total=total)
        yield lambda count: bar.advance(task, count)
