"""What the worker's loop and its metrics read of one step of learning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from learndrop.events import Event


class Report(Protocol):
    """What one call of `learn` did: see learndrop.learning.life.Report."""

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
