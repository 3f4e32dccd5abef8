"""Plays what was learned once more under other settings, beside those that were in force."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from learndrop.disk.archive import Archive, Segment, read_segment
from learndrop.errors import NotFound
from learndrop.learning.learner import Learner
from learndrop.settings import Settings
from learndrop.stream.messages import Sample

PART = 1000  # samples of one row of the table


@dataclass(frozen=True)
class Played:
    """One run, as JSON values: see `to_json`."""

    name: str
    settings: dict[str, Any]
    accuracy: float
    parts: list[float]
    events: list[dict[str, Any]]
    flops: dict[str, Any]
    seconds: dict[str, float]

    def counts(self) -> Counter[str]:
        """Events by type."""
        return Counter(event["type"] for event in self.events)

    def to_json(self) -> dict[str, Any]:
        """All figures."""
        return {**vars(self), "counts": dict(self.counts())}


def insist(source: Path) -> None:
    """Refuse a place that holds neither an archive's segments nor an exported file.

    Raises:
        NotFound: naming it.
    """
    if not source.is_file() and not Archive(source, 0).paths():
        raise NotFound(f"{source}: no archive there; LEARNDROP_ARCHIVE_BYTES keeps one")


def segments_of(source: Path) -> Iterator[Segment]:
    """The segments of an archive's folder, or the one file that was exported.

    Raises:
        NotFound: if there is nothing there.
        DamagedFile, UnknownFileFormat: naming the file.
    """
    insist(source)
    if source.is_file():
        yield read_segment(source)
    else:
        yield from Archive(source, 0).segments()


def play(
    name: str,
    source: Path,
    settings: Settings,
    changed: dict[str, Any],
    say: Callable[[int], None] = lambda samples: None,
) -> Played:
    """Learn the past from its beginning under these settings.

    Args:
        name: of the run.
        source: an archive's folder or an exported file.
        settings: all of them.
        changed: those that differ from what was in force, for the report.
        say: told the samples played, now and then.

    Raises:
        NotFound: if the source has no sample.
    """
    learner = Learner(settings)
    right: list[int] = []
    counts: list[int] = []
    events: list[dict[str, Any]] = []
    began = time.perf_counter()
    for batch in _batches(segments_of(source), settings.batch):
        report = learner.learn(batch)
        before = learner.progress.samples - report.count
        while len(counts) <= before // PART:
            counts.append(0)
            right.append(0)
        counts[before // PART] += report.count
        right[before // PART] += report.correct
        events += [event.to_json() for event in report.events]
        say(learner.progress.samples)
    if not counts:
        raise NotFound(f"{source}: no sample in it")
    return Played(
        name,
        changed,
        sum(right) / sum(counts),
        [r / n for r, n in zip(right, counts, strict=True)],
        events,
        learner.ledger.totals(),
        {**learner.life.seconds, "wall": time.perf_counter() - began},
    )


def rows(runs: Sequence[Played]) -> list[list[str]]:
    """The runs side by side: a row for every thousand samples, then what happened and the cost."""
    table = []
    for part in range(max(len(run.parts) for run in runs)):
        cells = [f"{100 * run.parts[part]:.1f} %" for run in runs]
        table.append([f"accuracy, samples {part * PART:,} to {(part + 1) * PART:,}", *cells])
    table.append(["accuracy, all", *(f"{100 * run.accuracy:.1f} %" for run in runs)])
    kinds = sorted({kind for run in runs for kind in run.counts()})
    table += [[f"events: {kind}", *(str(run.counts()[kind]) for run in runs)] for kind in kinds]
    drifts = [[str(e["samples"]) for e in run.events if e["type"] == "drift"] for run in runs]
    table.append(["drifts at sample", *(", ".join(found) or "none" for found in drifts)])
    table.append(["GFLOP spent", *(f"{run.flops['done'] / 1e9:,.1f}" for run in runs)])
    table.append(["seconds of learning", *(f"{_learning(run):.1f}" for run in runs)])
    return table


def _learning(run: Played) -> float:
    return sum(s for part, s in run.seconds.items() if part != "wall")


def _batches(segments: Iterator[Segment], size: int) -> Iterator[list[Sample]]:
    waiting: list[Sample] = []
    for segment in segments:
        waiting += segment.samples()
        while len(waiting) >= size:
            yield waiting[:size]
            waiting = waiting[size:]
    if waiting:
        yield waiting
