"""What the demo plays, what it saw, and whether that counts as success; no clock, no network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

COMES_BACK = 0.95
"""Accuracy has come back when it is at least this share of what it was before the change."""
RATE_OVER_S = 5.0
LETTERS = {"training": "T", "frozen": "F", "dropped": "D", "returned": "R", "thawed": "W"}


@dataclass(frozen=True)
class Phase:
    """One stretch of the stream.

    Attributes:
        title: for people.
        pictures: the world of the images (learndrop.images.worlds).
        labels: the world of the labels.
        least: samples that are streamed in any case.
        most: samples at which a phase that waits gives up waiting.
        change: what has just changed against the phase before, if anything did.
    """

    title: str
    pictures: str
    labels: str
    least: int
    most: int
    change: str = ""

    @property
    def waits(self) -> bool:
        """True when the phase goes on until layers are out of training and accuracy is back."""
        return self.most > self.least


def plan(scale: float = 1.0, changed: str = "noise90") -> list[Phase]:
    """The six phases; `scale` stretches all of them, `changed` is the world of the new input."""

    def n(samples: int) -> int:
        return max(64, round(samples * scale))

    def settling(title: str, pictures: str, labels: str) -> Phase:
        return Phase(title, pictures, labels, n(3000), n(9000))

    def change(title: str, pictures: str, labels: str, what: str) -> Phase:
        return Phase(title, pictures, labels, n(3000), n(3000), what)

    return [
        Phase("learning", "clean", "clean", n(4000), n(4000)),
        settling("settling", "clean", "clean"),
        change("input changed", changed, "clean", f"input: {changed}"),
        settling("settling again", changed, "clean"),
        change("labels changed", changed, "permuted", "labels: permuted"),
        settling("settling again", changed, "permuted"),
    ]


@dataclass(frozen=True)
class Reading:
    """One look at /v1/state.

    Attributes:
        second: since the first sample was sent.
        phase: index of the phase whose samples are being learned.
        samples: learned by the worker.
        accuracy: prequential, over the worker's window; None before the first sample.
        depth: leading units out of training.
        states: state of each unit, first to last.
        flops_done: spent so far, everything included.
        flops_full: what training everything on every sample would have spent so far.
        pending: accepted and not learned.
        version: of the model that answers.
    """

    second: float
    phase: int
    samples: int
    accuracy: float | None
    depth: int
    states: tuple[str, ...]
    flops_done: float = 0.0
    flops_full: float = 0.0
    pending: int = 0
    version: int | None = None

    @classmethod
    def from_state(cls, state: Mapping[str, Any], *, second: float, phase: int) -> Reading:
        """Read the body of GET /v1/state."""
        drop = state.get("drop") or {}
        flops = state.get("flops") or {}
        counts = state.get("samples") or {}
        return cls(
            second=second,
            phase=phase,
            samples=int(state.get("samples_learned") or 0),
            accuracy=(state.get("prequential") or {}).get("accuracy"),
            depth=int(drop.get("depth") or 0),
            states=tuple(str(unit["state"]) for unit in drop.get("units") or ()),
            flops_done=float(flops.get("done") or 0.0),
            flops_full=float(flops.get("full") or 0.0),
            pending=int(counts.get("pending") or 0),
            version=(state.get("model") or {}).get("version"),
        )


@dataclass(frozen=True)
class Answer:
    """One request for predictions on held-out images: how many were asked, and how many right."""

    phase: int
    samples: int
    asked: int
    right: int


@dataclass
class Record:
    """Everything the demo saw, in order; table, plot and verdict are made from this alone."""

    phases: list[Phase]
    starts: list[int] = field(default_factory=list)
    """Samples that had been sent when each phase began."""
    readings: list[Reading] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    failed_answers: int = 0
    last_failure: str = ""
    unit_names: list[str] = field(default_factory=list)
    data_name: str = ""
    network: str = ""

    def phase_of(self, samples: int) -> int:
        """The phase that the last of so many learned samples belongs to."""
        return max(0, sum(start < samples for start in self.starts) - 1)

    @property
    def rate(self) -> float:
        """Samples learned a second over the last few seconds."""
        if len(self.readings) < 2:
            return 0.0
        last = self.readings[-1]
        since = next(r for r in self.readings if r.second >= last.second - RATE_OVER_S)
        seconds = last.second - since.second
        return (last.samples - since.samples) / seconds if seconds > 0 else 0.0

    def of_phase(self, index: int) -> list[Reading]:
        """The readings of one phase."""
        return [reading for reading in self.readings if reading.phase == index]

    def events_of_phase(self, index: int) -> list[dict[str, Any]]:
        """The events that samples of this phase led to."""
        return [event for event in self.events if self.phase_of(int(event["samples"])) == index]


@dataclass(frozen=True)
class Row:
    """One line of the table at the end."""

    title: str
    samples: int
    accuracy: float | None
    deepest: int
    depth: int
    units: int
    saved: float | None
    drifts: int
    asked: int
    right: int
    seconds: float


def rows(record: Record) -> list[Row]:
    """The table by phase; phases that were never reached are left out."""
    table = []
    for index, phase in enumerate(record.phases):
        mine = record.of_phase(index)
        if not mine:
            continue
        earlier = [r for r in record.readings if r.phase < index]
        base = earlier[-1] if earlier else None
        answers = [answer for answer in record.answers if answer.phase == index]
        table.append(
            Row(
                title=phase.change or phase.title,
                samples=_end(record, index) - record.starts[index],
                accuracy=mine[-1].accuracy,
                deepest=max(r.depth for r in mine),
                depth=mine[-1].depth,
                units=len(mine[-1].states),
                saved=_saved(base, mine[-1]),
                drifts=sum(e["type"] == "drift" for e in record.events_of_phase(index)),
                asked=sum(answer.asked for answer in answers),
                right=sum(answer.right for answer in answers),
                seconds=mine[-1].second - (base.second if base else 0.0),
            )
        )
    return table


def saved(record: Record) -> float | None:
    """Share of FLOPs saved over the whole run, against training everything."""
    return _saved(None, record.readings[-1]) if record.readings else None


def settled(phase: Phase, reading: Reading, before: float | None, sent: int) -> bool:
    """True when the phase may end.

    `before` is the accuracy before the last change (None before the first), `sent` the samples
    of this phase that were learned.

    >>> wait = Phase("settling", "clean", "clean", least=100, most=400)
    >>> busy = Reading(1.0, 1, 200, 0.9, depth=0, states=("training",))
    >>> calm = Reading(1.0, 1, 200, 0.9, depth=3, states=("dropped",))
    >>> [settled(wait, busy, None, 200), settled(wait, calm, None, 200)]
    [False, True]
    >>> [settled(wait, calm, 0.99, 200), settled(wait, busy, 0.99, 400)]
    [False, True]
    """
    if sent < phase.least:
        return False
    if not phase.waits or sent >= phase.most:
        return True
    return reading.depth > 0 and (before is None or came_back(before, reading.accuracy))


def came_back(before: float, after: float | None) -> bool:
    """Whether accuracy is again at least `COMES_BACK` of what it was.

    >>> came_back(0.9, 0.86), came_back(0.9, 0.85), came_back(0.9, None)
    (True, False, False)
    """
    return after is not None and after >= COMES_BACK * before


def failures(record: Record) -> list[str]:
    """Why the demo did not show what it promises, one line each; empty when it did."""
    told = []
    reached = {reading.phase for reading in record.readings}
    if not any(reading.depth > 0 for reading in record.readings):
        told.append("no layer was dropped: depth stayed 0 for the whole stream")
    for index, phase in enumerate(record.phases):
        if not phase.change:
            continue
        if index not in reached:
            told.append(f"{phase.change}: this part of the stream was not reached")
            continue
        ends = [i for i in range(index + 1, len(record.phases)) if not record.phases[i].change]
        until = ends[0] if ends and ends[0] in reached else index
        if not any(e["type"] == "drift" for i in (index, until) for e in record.events_of_phase(i)):
            told.append(f"{phase.change}: no drift was noticed")
        was, now = _last(record, index - 1), _last(record, until)
        if was is not None and not came_back(was, now):
            told.append(
                f"{phase.change}: accuracy did not come back: {_percent(now)} after, "
                f"{_percent(was)} before, at least {COMES_BACK:.0%} of it is asked for"
            )
    if not record.answers:
        told.append("no prediction was answered")
    return told


def _end(record: Record, index: int) -> int:
    """Samples learned when a phase was over, or by now."""
    last = record.readings[-1].samples
    return min(last, record.starts[index + 1]) if index + 1 < len(record.starts) else last


def _last(record: Record, index: int) -> float | None:
    mine = record.of_phase(index)
    return mine[-1].accuracy if mine else None


def _saved(start: Reading | None, end: Reading) -> float | None:
    done = end.flops_done - (start.flops_done if start else 0.0)
    full = end.flops_full - (start.flops_full if start else 0.0)
    return 1.0 - done / full if full > 0 else None


def _percent(share: float | None) -> str:
    return "unknown" if share is None else f"{100 * share:.1f} %"
