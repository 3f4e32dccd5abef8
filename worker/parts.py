"""What the loop works with, as the little that it asks of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from learndrop.disk.archive import Archive
from learndrop.events import Event
from learndrop.settings import Settings
from learndrop.stream.contract import Consumer
from learndrop.stream.messages import Sample
from worker.erasing import Erasing
from worker.metrics import WorkerMetrics
from worker.report import Report


class Learns(Protocol):
    """What the loop asks of a learner."""

    classes: list[str]

    def learn(self, samples: Sequence[Sample], *, waiting: int = 0) -> Report: ...
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


def as_it_is() -> None:
    """Nobody looks after the weights: see learndrop.learning.keeper for who does."""


@dataclass(frozen=True)
class Parts:
    """Everything the loop works with; `save` writes a checkpoint that ends at a position, and says
    which folder is it.

    What comes before a version or a checkpoint may go back to better weights, and says so.
    `older` says that the learner comes from an older checkpoint because the newest is damaged.
    `confirm` raises NotLeading when this worker is known to lead no more.
    """

    settings: Settings
    stream: Consumer
    learner: Learns
    registry: Publishes
    board: Tells
    metrics: WorkerMetrics
    save: Callable[[str], Path | None]
    archive: Archive = field(default_factory=lambda: Archive(Path(), 0))
    before_publish: Callable[[], Event | None] = as_it_is
    before_checkpoint: Callable[[], Event | None] = as_it_is
    older: bool = False
    confirm: Callable[[], None] = lambda: None
    erasing: Erasing | None = None
