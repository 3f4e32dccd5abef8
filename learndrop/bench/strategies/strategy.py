"""What a strategy is: one way to spend seconds on a stream."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from learndrop.bench.streams import Stream
from learndrop.learning.learner import Learner
from learndrop.settings import Settings

Clock = Callable[[], float]
NEVER = 2**31  # samples: a cool-down that outlasts every stream


class Strategy:
    """The base of all: a Learner left alone.

    Every strategy is the same engine with the same network, detector, learning rate and number of
    replays; it differs in what this class lets it decide.

    Attributes:
        family: strategies that one line joins in the plots.
        differs: what `settings` gives, where it is the same for all of the class.
    """

    family: ClassVar[str]
    differs: ClassVar[Mapping[str, Any]] = {}

    @property
    def settings(self) -> Mapping[str, Any]:
        """Settings that are not those of the run."""
        return self.differs

    @property
    def label(self) -> str:
        """For tables and plots."""
        return self.family

    @property
    def mark(self) -> str:
        """What tells it from others of its family, short: written beside its point."""
        return ""

    def learner(self, settings: Settings, clock: Clock) -> Learner:
        """The learner that plays the stream; its seconds are those of `clock`."""
        return Learner(settings, clock=clock)

    def begin(self, learner: Learner, stream: Stream) -> None:
        """Done before the first sample. Who reads the stream's borders is told of drifts."""

    def trains(self, learner: Learner, batch: int) -> bool:
        """Asked before each batch, with its number: is a step made? The place to move the cut."""
        return True


class Scheduled(Strategy):
    """Moves the cut by a rule of its own, and begins anew in each world.

    Attributes:
        told: whether it is told where each world begins; else the learner's detector says so.
    """

    told: ClassVar[bool] = False
    differs: ClassVar[Mapping[str, Any]] = {"drop": False}

    def learner(self, settings: Settings, clock: Clock) -> Learner:
        self.clock = clock
        return super().learner(settings, clock)

    def begin(self, learner: Learner, stream: Stream) -> None:
        self._begins = set(stream.begins[1:]) if self.told else set()
        self._world = learner.life.world_start
        self.new_world(learner, stream)

    def new_world(self, learner: Learner, stream: Stream | None) -> None:
        """A world begins (with the stream: the first one)."""

    def cut_at(self, learner: Learner, since: int) -> int:
        """Units out of training `since` samples after the world began."""
        raise NotImplementedError

    def trains(self, learner: Learner, batch: int) -> bool:
        now = learner.progress.samples
        if self.told and now in self._begins:
            learner.replay.new_world(since=now)
        if now in self._begins or learner.life.world_start != self._world:
            learner.bring_back(0, "a new world: the schedule begins anew", statistics=False)
            self.new_world(learner, None)
        self._world = learner.life.world_start
        cut = self.cut_at(learner, now - self._world)
        if cut > learner.trainer.cut:
            learner.drop_to(cut, "as the schedule says")
        return True
