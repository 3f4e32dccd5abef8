"""What the learner tells of one call, and what it counts over its whole life."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from learndrop.events import Event


@dataclass(frozen=True, slots=True)
class Report:
    """What one call of `learn` did.

    Attributes:
        count: samples learned.
        correct: how many of them were answered right before they were learned.
        loss: mean cross-entropy of the training step (NaN where it was skipped).
        events: what happened, in order.
        should_publish: the network changed enough that a new version should not wait.
        seconds: spent in this call, by part: test, train, build.
    """

    count: int
    correct: int
    loss: float
    events: list[Event]
    should_publish: bool
    seconds: Mapping[str, float]


@dataclass
class Recovery:
    """A reset on trial: was it enough?"""

    accuracy_before: float
    due_samples: int
    kept: int
    share: float = 0.9

    def helped(self, accuracy: float) -> bool:
        """Whether the accuracy came back to `share` of what it was.

        >>> Recovery(accuracy_before=0.9, due_samples=100, kept=2).helped(0.82)
        True
        """
        return accuracy >= self.share * self.accuracy_before

    def failed(self, accuracy: float) -> str:
        """The sentence to say when it did not."""
        return (
            f"accuracy {accuracy:.3f} did not come back to {self.share:g} of"
            f" {self.accuracy_before:.3f}: the next stronger reset"
        )


@dataclass
class Life:
    """Counters that survive a restart."""

    steps: int = 0
    world_start: int = 0
    drifts: int = 0
    drops: int = 0
    resets: int = 0
    version: int = 0
    published_s: float = 0.0
    skipped: int = 0
    hurried: int = 0
    in_window: int = 0  # samples trained on since the last window ended
    seconds: dict[str, float] = field(
        default_factory=lambda: {"test": 0.0, "train": 0.0, "build": 0.0}
    )

    @contextmanager
    def timed(self, part: str, clock: Callable[[], float]) -> Iterator[None]:
        """Count the seconds of what is done inside as spent on `part`."""
        start = clock()
        yield
        self.seconds[part] += clock() - start
