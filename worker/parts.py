"""What the loop works with, as the little that it asks of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from learndrop.events import Event
from learndrop.messages import Sample
from learndrop.settings import Settings
from learndrop.stream import Consumer
from worker.metrics import WorkerMetrics


class Report(Protocol):
    """What one call of `learn` did: see learndrop.life.Report."""

    @property
    def count(self) -> int: ...
    @property
    def loss(self) -> float: ...
    @property
    def events(self) -> Sequence[Event]: ...
    @property
    def should_publish(self) -> bool: ...
    @property
    def seconds(self) -> Mapping[str, float]: ...


class Learns(Protocol):
    """What the loop asks of a learner."""

    classes: list[str]

    def learn(self, samples: Sequence[Sample]) -> Report: ...
    def export(self) -> tuple[dict[str, bytes], dict[str, Any]]: ...
    def published(self, version: int) -> Event: ...
    def state(self) -> dict[str, Any]: ...


class Publishes(Protocol):
    """What the loop asks of a registry."""

    def publish(self, parts: Mapping[str, bytes], about: Mapping[str, Any]) -> int: ...
    def current(self) -> int | None: ...


class Tells(Protocol):
    """What the loop asks of a board."""

    def put_state(self, state: Mapping[str, Any]) -> None: ...
    def add_events(self, events: Sequence[Event]) -> None: ...


@dataclass(frozen=True)
class Parts:
    """Everything the loop works with; `save` writes a checkpoint that ends at a position."""

    settings: Settings
    stream: Consumer
    learner: Learns
    registry: Publishes
    board: Tells
    metrics: WorkerMetrics
    save: Callable[[str], object]
