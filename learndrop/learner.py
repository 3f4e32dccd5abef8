"""One object that learns without end: test, notice, train, drop, bring back.

A page shows the order of things (`learn`); the parts live in files of their own.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learndrop import drifts, moving, stepping
from learndrop.answering import Batch, answered
from learndrop.belief import Belief
from learndrop.candidate import Candidate
from learndrop.chain import Chain
from learndrop.earlier import Earlier
from learndrop.errors import NotLearnedYet
from learndrop.events import Event, EventType
from learndrop.first_rate import first_rate, with_rate
from learndrop.guard import Guard
from learndrop.hurry import Hurry
from learndrop.inputs import Inputs
from learndrop.labels import Labels
from learndrop.ledger import Ledger
from learndrop.life import Life, Recovery, Report
from learndrop.messages import Sample
from learndrop.newborn import first_weights, kept_weights, newborn
from learndrop.noticing import notice
from learndrop.overview import overview
from learndrop.precision import Choice
from learndrop.progress import Progress
from learndrop.rates import rate_at
from learndrop.rehearsal import Rehearsal
from learndrop.returning import put_back
from learndrop.scorers import PROBED
from learndrop.sender import Ruling
from learndrop.settings import Settings
from learndrop.settling import Settling
from learndrop.spec import NetworkSpec
from learndrop.trainer import Trainer
from learndrop.unlabelled import Newest
from learndrop.versions import pack
from learndrop.watch import Watch
from learndrop.witness import Witness


class Learner:
    """Learns labelled images as they come and drops what it has learned.

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

    # -- the page ---------------------------------------------------------------------------

    def learn(self, samples: Sequence[Sample], *, train: bool = True, waiting: int = 0) -> Report:
        """Answer the samples, then learn them.

        Args:
            samples: images [size, size, 3] uint8 with their labels.
            train: False takes the answers and the labels in but makes no step (a control that
                learns fewer samples).
            waiting: samples that have come and are not learned yet, behind these.

        Returns:
            what happened.
        """
        self._new_events, self._publish = [], False
        if not samples:
            return Report(0, 0, float("nan"), [], False, dict.fromkeys(self.life.seconds, 0.0))
        before, resets, cut = dict(self.life.seconds), self.life.resets, self.trainer.cut
        batch = answered(self, samples)
        chosen = notice(self, batch)
        train = train and bool(chosen.any())
        if train and self.candidate is not None:
            with self.timed("train"):
                x = batch.x[torch.from_numpy(chosen)]
                drifts.beside(self, x, batch.targets[chosen], batch.right[chosen])
        # an alarm may have ended a thaw: then the maps are of weights that are gone
        same = self.life.resets == resets and self.trainer.cut == cut
        maps = self.entering(batch, same=same)
        with self.timed("build"):
            logits = batch.logits if same else None
            self.rehearsal.arrived(batch.ids, maps, logits, batch.targets)
            self.rehearsal.pass_on(hold=self.settling.probation is not None)
        loss = float("nan")
        if train:
            start = self.hurry.start(waiting, self.trainer.cut) if same else self.trainer.cut
            enter = maps if start == self.trainer.cut else batch.outputs[start - 1]
            some = enter if chosen.all() else enter[torch.from_numpy(chosen)]
            loss = stepping.step(self, some, batch.targets[chosen], start)
        surplus = int((~chosen).sum()) if train else len(samples)
        self.ledger.train(self.trainer.cut, 0, arriving=surplus)  # full fine-tuning would have
        # in samples: a slow stream's batches are small, and a few samples judge nothing
        whole = train and start == self.trainer.cut
        self.life.in_window += int(chosen.sum()) if whole else 0
        if self.life.in_window >= self.settings.window_samples:
            self.life.in_window = 0
            self._end_window()
        spent = {part: s - before[part] for part, s in self.life.seconds.items()}
        right, events = int(batch.right.sum()), list(self._new_events)
        return Report(len(samples), right, loss, events, self._publish, spent)

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities [N, classes] for images [N, size, size, 3], by the full network.

        Raises:
            NotLearnedYet: before the first label was learned.
        """
        learned = self.progress.samples + self.life.steps
        if not self.classes or (learned == 0 and not self.settings.weights):
            raise NotLearnedYet("nothing has been learned yet")
        _, logits, _ = self.trainer.test(self.floats(images))
        shares = logits[:, : len(self.classes)].softmax(1).cpu().numpy()
        return np.asarray(shares, np.float32)

    # -- train ------------------------------------------------------------------------------

    def entering(self, batch: Batch, *, same: bool) -> Tensor:
        """Maps [N, ...] of a batch that enter the cut; see stepping.py."""
        return stepping.entering(self, batch, same=same)

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

    # -- drop -------------------------------------------------------------------------------

    def _end_window(self) -> None:
        moving.judge(self)
        drifts.check_recovery(self)
        if not self.watch.monitor.on_trial:  # what the alarm was about may be these weights
            self.guard.end_window()
        self.settling.scorer.start(self.trainer.trained)

    def drop_to(self, cut: int, cause: str) -> None:
        """Take the first `cut` units out of training, physically."""
        moving.drop_to(self, cut, cause)

    def probe(self) -> Tensor | None:
        """The newest images, once there are enough, for a score that looks at outputs."""
        places = self.replay.newest(PROBED)
        return self.floats(self.replay.images[places]) if len(places) == PROBED else None

    # -- drift ------------------------------------------------------------------------------

    def bring_back(self, back_to: int, cause: str, *, lost: float = 1.0, **detail: Any) -> None:
        """Train from unit `back_to` on, with a fresh optimizer and a rate for what is lost: at a
        drift, or by somebody who knows of one. `lost` is the share of the right answers that are
        wrong now; `detail` goes into the event."""
        moving.bring_back(self, back_to, cause, lost=lost, **detail)

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

    # -- whom and what to believe -----------------------------------------------------------

    def rule(self, ruling: Ruling) -> None:
        """A key is no longer believed, or is again."""
        self.tell("release" if ruling.believed else "quarantine", ruling.cause, key=ruling.key)

    def take_back(self, parts: Mapping[str, bytes] | None, cause: str, **detail: Any) -> Event:
        """Go on from the weights of an earlier version, or from fresh ones.

        Raises:
            KeyError, RuntimeError: if the parts are not those of this network.
        """
        put_back(self, parts)
        self._new_events = []
        self.tell("rollback", cause, **detail)
        return self._new_events[0]

    # -- seconds and events -----------------------------------------------------------------

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

    # -- what others see --------------------------------------------------------------------

    def export(self) -> tuple[dict[str, bytes], dict[str, Any]]:
        """The full network for the registry: safetensors bytes by unit, and what it is."""
        return pack(self)

    def published(self, version: int) -> Event:
        """Told by the worker when a version is out."""
        self._new_events = []
        self.life.version, self.life.published_s = version, time.time()
        self.tell("publish", f"version {version}", version=version)
        return self._new_events[0]

    def state(self) -> dict[str, Any]:
        """Everything `GET /v1/state` tells of the learner, as JSON values."""
        return overview(self)
