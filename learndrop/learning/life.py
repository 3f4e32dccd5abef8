"""What the learner tells of one call, and what it counts over its whole life."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from learndrop.events import Event
from learndrop.standard_error import tolerance


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
    """A reset on trial: was it enough?

    Attributes:
        accuracy_before: the drift.
        due_samples: of the learner's, when it is judged.
        kept: leading units that stayed out of training.
        share: of the accuracy before that has to be back.
    """

    accuracy_before: float
    due_samples: int
    kept: int
    share: float = 0.9

    def wanted(self, n: int) -> float:
        """The accuracy of n answers that is enough: `share` of what it was.

        Where units stayed out it is also no lower than chance explains: of answers that were
        nearly all right, a tenth that went wrong is an error of several times what it was, and
        training what is out may be what it takes.

        >>> Recovery(accuracy_before=0.98, due_samples=100, kept=0).wanted(256)
        0.882
        >>> round(Recovery(accuracy_before=0.98, due_samples=100, kept=2).wanted(256), 3)
        0.945
        """
        enough = self.share * self.accuracy_before
        if not self.kept:
            return enough
        return max(enough, self.accuracy_before - tolerance(self.accuracy_before, n))

    def failed(self, accuracy: float, n: int) -> str:
        """The sentence to say when it did not help."""
        return (
            f"accuracy {accuracy:.3f} did not come back to {self.wanted(n):.3f}, it was"
            f" {self.accuracy_before:.3f}: the next stronger reset"
        )


@dataclass
class Life:
    """Counters that survive a restart."""

    steps: int = 0
    world_start: int = 0
    begun: int = 0  # samples of the rate's schedule that the world did not begin with
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
