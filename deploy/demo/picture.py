"""The record of the demo as rich text: accuracy, phases, the state of each unit, events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from deploy.demo.phases import LETTERS, Reading, Record, saved

BLOCKS = "▁▂▃▄▅▆▇█"
# Okabe-Ito colours; the letter says the same, so that nobody has to tell colours apart.
COLOURS = {
    "training": "black on #56b4e9",
    "frozen": "black on #f0e442",
    "dropped": "white on #3b4248",
    "returned": "black on #e69f00",
    "thawed": "white on #0072b2",
}
EVENT_STYLES = {
    "drop": "bold",
    "freeze": "dim",
    "return": "#e69f00",
    "thaw": "dim",
    "drift": "bold #d55e00",
    "reset": "#e69f00",
    "rollback": "#d55e00",
    "publish": "dim",
}
SHOWN_EVENTS = {"drop", "return", "drift", "reset", "grow", "rollback"}
NAME_WIDTH = 12
MOST_ROWS = 12
FIXED_LINES = 12
"""Lines of the picture that are neither units nor events, and one to spare."""


def picture(record: Record, title: str, width: int, height: int = 40) -> RenderableType:
    """The whole view; `width` and `height` in characters."""
    inner = max(40, min(width, 110) - 4)
    head = Table.grid(expand=True)
    head.add_column()
    head.add_column(justify="right")
    seconds = record.readings[-1].second if record.readings else 0.0
    head.add_row(Text(phase_line(record), style="bold"), Text(clock(seconds)))
    total = sum(phase.least for phase in record.phases)
    done = record.readings[-1].samples if record.readings else 0
    ahead = sum(phase.least for phase in record.phases[len(record.starts) :])
    bar = ProgressBar(total=max(total, done + ahead), completed=done, width=inner)
    units = unit_rows(record, inner - NAME_WIDTH)
    room = height - len(units) - FIXED_LINES
    line = Table.grid()
    line.add_row(bar)  # the bar alone ends without a line break
    body = Group(
        head,
        line,
        accuracy_row(record, inner - NAME_WIDTH),
        phase_row(record, inner - NAME_WIDTH),
        *units,
        legend(),
        Text(),
        Text(figures(record), no_wrap=True, overflow="ellipsis"),
        Text(answers_line(record), no_wrap=True, overflow="ellipsis"),
        Text(),
        *event_lines(record, max(2, min(8, room)), inner),
    )
    return Panel(body, title=title, width=inner + 4, title_align="left")


def phase_line(record: Record) -> str:
    """Which phase is being learned, in words."""
    if not record.readings:
        return "starting"
    index = record.readings[-1].phase
    phase = record.phases[index]
    told = f"{index + 1} of {len(record.phases)}: {phase.title}"
    if phase.change:
        told += f" ({phase.change})"
    return told


def accuracy_row(record: Record, width: int) -> Text:
    """The accuracy now, and all of it so far as a sparkline, one column a stretch of samples."""
    now = record.readings[-1].accuracy if record.readings else None
    label = "acc     --" if now is None else f"acc {100 * now:5.1f} %"
    return Text(f"{label:<{NAME_WIDTH}}", "bold") + Text(
        sparkline([None if r is None else r.accuracy for r in columns(record, width)]), "#009e73"
    )


def phase_row(record: Record, width: int) -> Text:
    """Where each phase began, under the accuracy."""
    cells = columns(record, width)
    marks = ["\u2500"] * len(cells)
    for index in range(len(record.starts) - 1, -1, -1):
        first = next((i for i, cell in enumerate(cells) if cell and cell.phase >= index), None)
        if first is not None:
            marks[first] = str(index + 1)
    return Text(f"{'phase':<{NAME_WIDTH}}" + "".join(marks), "dim")


def sparkline(values: Sequence[float | None]) -> str:
    """Shares from 0 to 1 as blocks.

    >>> sparkline([0.0, 0.5, 1.0, None])
    '▁▅█ '
    """
    return "".join(
        " " if value is None else BLOCKS[min(7, max(0, int(value * 8)))] for value in values
    )


def columns(record: Record, width: int) -> list[Reading | None]:
    """The readings laid out over `width` columns of equal numbers of samples, as far as they go.

    The picture fills from the left while the plan's least number of samples fits, then squeezes.
    """
    if not record.readings:
        return []
    last = record.readings[-1].samples
    each = max(sum(p.least for p in record.phases), last) / width
    cells: list[Reading | None] = [None] * min(width, int(last / each) + 1)
    for reading in record.readings:
        cells[min(len(cells) - 1, int(reading.samples / each))] = reading
    for i in range(1, len(cells)):
        cells[i] = cells[i] or cells[i - 1]
    return cells


def unit_rows(record: Record, width: int) -> list[Text]:
    """Each unit's state over the whole run: a row a unit, a letter a stretch of samples."""
    cells = columns(record, width)
    names = record.unit_names
    if len(names) > MOST_ROWS:  # too many for rows: only now, side by side
        now = record.readings[-1].states if record.readings else ()
        return [Text(f"{'units':<{NAME_WIDTH}}") + letters(now)]
    rows = []
    for position, name in enumerate(names):
        states = [
            cell.states[position] if cell and position < len(cell.states) else "" for cell in cells
        ]
        rows.append(Text(f"{name[: NAME_WIDTH - 1]:<{NAME_WIDTH}}") + letters(states))
    return rows


def letters(states: Sequence[str]) -> Text:
    """States as coloured letters."""
    text = Text()
    for state in states:
        text.append(LETTERS.get(state, " "), COLOURS.get(state, ""))
    return text


def legend() -> Text:
    """What the letters mean."""
    text = Text(" " * NAME_WIDTH)
    for state, letter in LETTERS.items():
        text.append(f" {letter} ", COLOURS[state])
        text.append(f" {state}  ")
    return text


def strip(reading: Reading) -> str:
    """The units' letters, first to last, without colour."""
    return "".join(LETTERS.get(state, "?") for state in reading.states)


def figures(record: Record) -> str:
    """The figures that move."""
    if not record.readings:
        return "waiting for the first sample to be learned"
    reading = record.readings[-1]
    share = saved(record)
    return (
        f"learned {reading.samples:,} ({record.rate:,.0f}/s), "
        f"dropped {reading.depth} of {len(reading.states)}, "
        f"FLOPs saved {'--' if share is None else f'{100 * share:.0f} %'}"
    )


def answers_line(record: Record) -> str:
    """How predictions went meanwhile."""
    asked = sum(answer.asked for answer in record.answers)
    version = record.readings[-1].version if record.readings else None
    lately = record.answers[-8:]
    right = sum(a.right for a in lately) / max(1, sum(a.asked for a in lately))
    told = f"{asked:,} predictions meanwhile"
    if asked:
        told += f", of late {100 * right:.0f} % right (held out), model version {version}"
    if record.failed_answers:
        told += f", {record.failed_answers} requests not answered"
    return told


def event_lines(record: Record, count: int, width: int) -> list[Text]:
    """The last events, newest last."""
    shown = [event for event in record.events if event["type"] in SHOWN_EVENTS][-count:]
    lines = []
    for event in shown:
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append(f"{int(event['samples']):>7,} ", "dim")
        text.append(f"{event['type']:<9}", EVENT_STYLES.get(event["type"], ""))
        text.append(f"{event['depth']} out  ")
        text.append(one_line(event))
        text.truncate(width, overflow="ellipsis")
        lines.append(text)
    return lines


def one_line(event: dict[str, Any]) -> str:
    """An event's cause without line breaks."""
    return " ".join(str(event["cause"]).split())


def clock(seconds: float) -> str:
    """Seconds as m:ss.

    >>> clock(75.4)
    '1:15'
    """
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
