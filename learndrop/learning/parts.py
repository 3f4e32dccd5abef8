"""What a learner consists of, and what each of its parts may ask of the whole.

`learner.py` shows the order in which things happen to it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learndrop.belief.judging import Belief
from learndrop.belief.sender import Ruling
from learndrop.drift.candidate import Candidate
from learndrop.drift.earlier import Earlier
from learndrop.drift.unlabelled import Newest
from learndrop.drift.watch import Watch
from learndrop.drift.witness import Witness
from learndrop.dropping.settling import Settling
from learndrop.events import Event, EventType
from learndrop.learning.hurry import Hurry
from learndrop.learning.labels import Labels
from learndrop.learning.life import Life, Recovery
from learndrop.learning.newborn import first_weights, kept_weights, newborn
from learndrop.learning.rehearsal import Rehearsal
from learndrop.networks.chain import Chain
from learndrop.networks.floats import Inputs
from learndrop.networks.spec import NetworkSpec
from learndrop.scores.catalogue import PROBED
from learndrop.settings import Settings
from learndrop.training.first_rate import first_rate, with_rate
from learndrop.training.guard import Guard
from learndrop.training.ledger import Ledger
from learndrop.training.precision import Choice
from learndrop.training.progress import Progress
from learndrop.training.rates import rate_at
from learndrop.training.trainer import Trainer


class Parts:
    """The parts of a learner, made for each other, and its events.

    Args:
        settings: see `learndrop.settings`.
        precision: as measured before; measured now when not given.
        chain: a network of the caller's own, cut already, instead of the settings' one.
        clock: seconds; for the accounts, and for a decision only with the codec `auto`.

    Raises:
        BadNetwork: if the network cannot be built or cut.
        BadSettings: if there is no such device.
    """

    rehearses_by: ClassVar[type[Rehearsal]] = Rehearsal

    def __init__(
        self,
        settings: Settings,
        *,
        precision: Choice | None = None,
        chain: Chain | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._clock = clock
        torch.manual_seed(settings.seed)
        self.labels = Labels(settings.classes)
        self.classes = self.labels.classes  # the same list: it grows there
        self.spec = NetworkSpec.from_settings(settings)
        self.chain, self.device, self.precision = newborn(settings, precision, chain)
        self._came_with = kept_weights(settings, chain)
        modules = (unit.module for unit in self.chain.units)
        self.first_rate = first_rate(settings, modules, own=chain is not None)
        self.settings = settings = with_rate(settings, self.first_rate)
        chain = self.chain
        self.floats = Inputs(settings, self.device, self.precision.memory_format)
        self.trainer = Trainer(chain, settings, self.device, self.precision)
        self.ledger = Ledger(chain)
        self.progress = Progress(settings.accuracy_window, 4 * settings.window_samples)
        self.unsure = Newest()  # of the answers before learning, for whoever answers with a version
        self.watch = Watch(len(chain.units), settings.drift_delta, settings.drift_cooldown)
        self.settling = Settling(chain, self.ledger, settings, self.probe)
        self.rehearsal = self.rehearses_by(settings, self.trainer, self.ledger, clock)
        self.replay, self.features = self.rehearsal.replay, self.rehearsal.features
        self.belief = Belief(settings, self.trainer, self.ledger, self.replay, self.floats)
        self.guard = Guard(chain)
        self.hurry = Hurry(settings, self.ledger)
        self.earlier = Earlier(settings.earlier_worlds, settings.earlier_bytes)
        self.candidate: Candidate | None = None
        self.witness: Witness | None = None
        self.life = Life()
        self.recovery: Recovery | None = None
        self.returned: set[int] = set()
        self.recent_events: deque[Event] = deque(maxlen=settings.events_kept)
        self._new_events: list[Event] = []
        self._publish = False
        self.settling.scorer.start(self.trainer.trained)

    # -- the rate and the pictures of now -----------------------------------------------------

    @property
    def rate(self) -> float:
        """Learning rate of the next step."""
        return self.rate_after(self.life.begun + self.samples_in_world)

    def rate_after(self, samples: int) -> float:
        """Learning rate of a step so many samples after the start or a drift."""
        return self.guard.caution * rate_at(
            samples,
            top=self.settings.rate,
            floor=self.settings.rate_floor,
            halving=self.settings.rate_halving,
        )

    @property
    def samples_in_world(self) -> int:
        """Since the start or the last reset."""
        return self.progress.samples - self.life.world_start

    def probe(self) -> Tensor | None:
        """The newest images, once there are enough, for a score that looks at outputs."""
        places = self.replay.newest(PROBED)
        return self.floats(self.replay.images[places]) if len(places) == PROBED else None

    def right_at(self, places: NDArray[np.int64]) -> float:
        """Share of the replay buffer's samples at `places` that the present weights answer right;
        counted as probes."""
        self.ledger.probe(len(places))
        return self.belief.share_right(self.replay.images[places], self.replay.targets[places])

    def adapt_statistics(self, start: int = 0) -> None:
        """Take BatchNorm's statistics anew from the newest samples of the present world; the units
        before `start` (0, or the cut) keep theirs."""
        with self.timed("build"):
            self.rehearsal.adapt_statistics(self.floats, start=start)

    def first_weights(self) -> dict[str, Tensor]:
        """The weights and statistics that it began with, for whoever begins again.

        Raises:
            BadNetwork: for a network of the caller's own without the setting `candidate`.
        """
        return first_weights(self.settings, self.precision, self._came_with)

    # -- seconds and events -----------------------------------------------------------------

    def rule(self, ruling: Ruling) -> None:
        """A key is no longer believed, or is again."""
        self.tell("release" if ruling.believed else "quarantine", ruling.cause, key=ruling.key)

    def timed(self, part: str) -> AbstractContextManager[None]:
        """Count the seconds of what is done inside as spent on `part`."""
        return self.life.timed(part, self._clock)

    def publish_soon(self) -> None:
        """The network has changed enough that a new version should not wait."""
        self._publish = True

    def tell(self, type_: EventType, cause: str, **detail: Any) -> None:
        event = Event(type_, time.time(), self.progress.samples, cause, self.trainer.cut, detail)
        self.recent_events.append(event)
        self._new_events.append(event)
