"""The worker's loop among parts that write down what it does to them, and when."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from learndrop.events import Event
from learndrop.server.ids import START
from learndrop.settings import Settings, load_settings
from learndrop.stream.account import Counts
from learndrop.stream.contract import Entry, Reason
from learndrop.stream.memory_consumer import MemoryConsumer
from learndrop.stream.memory_stream import MemoryStream
from learndrop.stream.messages import Sample
from worker.loop import run
from worker.metrics import WorkerMetrics
from worker.parts import Parts

SIZE = 8


@dataclass
class Told:
    """A report of the recording learner."""

    count: int
    events: Sequence[Event] = ()
    should_publish: bool = False
    loss: float = 0.5
    seconds: Mapping[str, float] = field(default_factory=lambda: {"test": 0.1, "train": 0.2})


class Story(list[str]):
    """What happened, in order; `count` calls of a kind may be made to fail."""

    def __init__(self) -> None:
        self.fails: dict[str, list[Exception]] = {}

    def __call__(self, what: str, detail: object = "") -> None:
        self.append(f"{what} {detail}".rstrip())
        if self.fails.get(what):
            raise self.fails[what].pop(0)

    def kinds(self) -> list[str]:
        return [line.split()[0] for line in self]


class RecordingLearner:
    """Remembers the labels that it learned, and nothing else."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self.classes: list[str] = []
        self.labels: list[str] = []
        self.reports: list[dict[str, Any]] = []
        self.waiting: list[int] = []
        self.version: int | None = None

    def learn(self, samples: Sequence[Sample], *, waiting: int = 0) -> Told:
        labels = [s.label for s in samples]
        self.waiting.append(waiting)
        self.story("learn", ",".join(labels))
        self.labels += labels
        self.classes += [x for x in dict.fromkeys(labels) if x not in self.classes]
        return Told(len(samples), **(self.reports.pop(0) if self.reports else {}))

    def export(self) -> tuple[dict[str, bytes], dict[str, Any]]:
        return {"head": b"1"}, {"samples": len(self.labels)}

    def published(self, version: int) -> Event:
        self.version = version
        return Event("publish", 0.0, len(self.labels), f"version {version}", 0)

    def state(self) -> dict[str, Any]:
        return {
            "samples_learned": len(self.labels),
            "prequential": {"accuracy": None},
            "drop": {"depth": 0, "total": 0, "units": []},
            "flops": {"done": 1.0, "full": 2.0, "saved_ratio": 0.5},
            "features": {"bytes": 0, "budget_bytes": 1},
            "replay": {"samples": 0},
            "rate": 0.1,
            "model": {"version": self.version},
        }


class RecordingStream(MemoryConsumer):
    def __init__(self, stream: MemoryStream, story: Story) -> None:
        self.story = story
        super().__init__(stream)

    def claim(
        self, most: int, wait_s: float, stopping: Callable[[], bool] = lambda: False
    ) -> list[Entry]:
        self.story("claim")
        return super().claim(most, 0)  # to ask `stopping` would count as a turn

    def hold(self, ids: Sequence[str]) -> set[str]:
        self.story("hold", ",".join(ids))
        return super().hold(ids)

    def ack(self, through: str) -> int:
        if self._opened:  # the first one belongs to the stream's own start
            self.story("ack", through)
        return super().ack(through)

    def bury(self, entry: Entry, reason: Reason, why: str) -> None:
        self.story("bury", f"{entry.id} {reason}")
        super().bury(entry, reason, why)


class RecordingRegistry:
    def __init__(self, story: Story) -> None:
        self.story, self.abouts = story, list[Mapping[str, Any]]()

    def publish(self, parts: Mapping[str, bytes], about: Mapping[str, Any]) -> int:
        self.story("publish")
        self.abouts.append(about)
        return len(self.abouts)

    def current(self) -> int | None:
        return len(self.abouts) or None


class RecordingBoard:
    def __init__(self, story: Story) -> None:
        self.story, self.events, self.states = story, list[Event](), list[Mapping[str, Any]]()

    def put_state(self, state: Mapping[str, Any]) -> None:
        self.story("state")
        self.states.append(state)

    def add_events(self, events: Sequence[Event]) -> None:
        self.events += events
        if events:
            self.story("events", ",".join(e.type for e in events))


class World:
    """A worker in memory, whose clock moves one second a turn."""

    def __init__(self, **overrides: Any) -> None:
        defaults = {"image_size": SIZE, "batch": 4, "checkpoint_s": 3.0, "publish_s": 1000.0}
        self.settings: Settings = load_settings(**(defaults | overrides))
        self.memory = MemoryStream(self.settings)
        self.story = Story()
        self.registry = RecordingRegistry(self.story)
        self.board = RecordingBoard(self.story)
        self.now, self.tick_s = 0.0, 1.0
        self.saved: list[str] = []
        self.paused: list[float] = []
        self.before_turn: Callable[[int], None] = lambda turn: None
        self.start_again()

    def start_again(self) -> None:
        """A new process: nothing of the old one is left but the stream, checkpoints, versions."""
        self.learner = RecordingLearner(self.story)
        self.stream = RecordingStream(self.memory, self.story)
        self.metrics = WorkerMetrics(CollectorRegistry(), clock=lambda: self.now)

    def publish(self, *labels: str, size: int = SIZE) -> list[str]:
        samples = [Sample(np.zeros((size, size, 3), np.uint8), label, 1.0) for label in labels]
        return asyncio.run(self.memory.publish(samples))

    def save(self, position: str) -> None:
        self.story("save", position)
        self.saved.append(position)

    def run(self, turns: int, position: str = START) -> None:
        """Run the loop for so many turns (and what it does at its end)."""
        left = turns

        def stopping() -> bool:
            nonlocal left
            if left == 0:
                return True
            self.now += self.tick_s
            self.before_turn(turns - left)
            left -= 1
            return False

        parts = Parts(
            self.settings,
            self.stream,
            self.learner,
            self.registry,
            self.board,
            self.metrics,
            self.save,
        )
        run(
            parts,
            position,
            stopping=stopping,
            clock=lambda: self.now,
            pause=self.paused.append,
        )

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)

    def adds_up(self) -> Counts:
        counts = self.memory.account()
        assert counts.missing == 0
        return counts


@pytest.fixture
def make() -> Callable[..., World]:
    return World


@pytest.fixture
def world() -> World:
    return World()
