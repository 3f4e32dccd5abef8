"""What the demo shows while it runs: a live picture on a terminal, plain lines anywhere else."""

from __future__ import annotations

import time
from typing import Protocol, Self

from rich.console import Console
from rich.live import Live

from deploy.demo.phases import Record
from deploy.demo.picture import SHOWN_EVENTS, figures, phase_line, picture, strip

LINE_EVERY_S = 5.0


class View(Protocol):
    """Whoever wants to be shown the record as it grows."""

    def update(self, record: Record) -> None:
        """Called about four times a second."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


def view_for(console: Console, title: str) -> View:
    """The live picture on a terminal, lines otherwise."""
    return LiveView(console, title) if console.is_terminal else LineView(console)


class LiveView:
    """The record as one picture that is drawn over itself."""

    def __init__(self, console: Console, title: str) -> None:
        self._title = title
        self._live = Live(console=console, auto_refresh=False)

    def update(self, record: Record) -> None:
        size = self._live.console.size
        self._live.update(picture(record, self._title, size.width, size.height), refresh=True)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()


class LineView:
    """A line for each phase and event, and one with figures every few seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._phase = -1
        self._events = 0
        self._next_s = 0.0

    def update(self, record: Record) -> None:
        if not record.readings:
            return
        reading = record.readings[-1]
        if reading.phase != self._phase:
            self._phase = reading.phase
            self._say(f"[{reading.second:5.0f} s] -- {phase_line(record)}")
        for event in record.events[self._events :]:
            if event["type"] in SHOWN_EVENTS:
                self._say(f"[{reading.second:5.0f} s] {event['type']}: {event['cause']}")
        self._events = len(record.events)
        if time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + LINE_EVERY_S
            accuracy = "--" if reading.accuracy is None else f"{100 * reading.accuracy:.1f} %"
            told = f"accuracy {accuracy}, {figures(record)}, units {strip(reading)}"
            self._say(f"[{reading.second:5.0f} s] {told}")

    def _say(self, line: str) -> None:
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None
