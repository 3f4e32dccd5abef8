"""Training in epochs on a fixed data set by the same engine: the setting of the paper.

Shuffled passes, a rate that rises and falls over the whole, the same scores and the same rule for
what leaves training; whether the network still gets better is asked of the same pictures, a pass
ago and now.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from learndrop.dropping.arriving import Arriving
from learndrop.dropping.settling import Move, Settling
from learndrop.epochs.fixed_set import Passes, Pictures, Places
from learndrop.epochs.set_maps import SetMaps
from learndrop.events import Event
from learndrop.learning.learner import Learner
from learndrop.networks.transfer import to_device
from learndrop.scores.catalogue import PROBED
from learndrop.training.norms import adapt_statistics
from learndrop.training.rates import WARM_UP, rate_of
from learndrop.training.updates import Step

READINGS = 4  # windows in an epoch
AT_ONCE = 256  # images in one pass that only answers


@dataclass(frozen=True, slots=True)
class Epoch:
    """One pass over the set.

    Attributes:
        number: counted from 1; the last may be a part of one.
        loss: mean cross-entropy of its steps.
        accuracy: share answered right in training, before each step.
        held_out: share of the held-out pictures answered right after it; None without any, or
            where it was not asked.
        depth: units out of training after it.
        seconds: of training since the start, building included.
        forward_saved: share of the forward FLOPs saved since the start, building included.
        saved: the same of all FLOPs.
    """

    number: int
    loss: float
    accuracy: float
    held_out: float | None
    depth: int
    seconds: float
    forward_saved: float
    saved: float


class Epochs:
    """One training of a learner on a fixed set.

    Args:
        learner: what is trained; it can go on with a stream afterwards.
        pictures: the set.
        epochs: passes over it; a fraction is a part of a pass.
        held_out: answered after some epochs and after the last, never learned.
        answer_every: so many epochs from one answering to the next.
        augment: move and mirror the pictures.
        clock: seconds; only for the account.
    """

    def __init__(
        self,
        learner: Learner,
        pictures: Pictures,
        *,
        epochs: float,
        held_out: Pictures | None = None,
        answer_every: float = 1,
        augment: bool = False,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.learner, self.pictures, self.held_out = learner, pictures, held_out
        self.answer_every, self._clock = answer_every, clock
        settings = learner.settings
        self.steps_in_epoch = math.ceil(len(pictures) / settings.batch)
        self.steps = max(1, round(epochs * self.steps_in_epoch))
        self.window = max(4, self.steps_in_epoch // READINGS)
        windowed = settings.model_copy(update={"window": self.window})
        self.settling = Settling(learner.chain, learner.ledger, windowed, self._probe)
        self.progress = Passes(len(pictures), 4 * self.window * settings.batch)
        self.events: list[Event] = []
        known = pictures.targets[pictures.targets >= 0]
        self._commonest = float(np.bincount(known, minlength=1).max() / max(1, len(pictures)))
        self._targets = torch.from_numpy(pictures.targets).to(learner.device)
        self._rng = np.random.default_rng(settings.seed)
        self.maps = SetMaps(learner, pictures, augment=augment, rng=self._rng)
        self._unread: list[tuple[Places, Step]] = []
        self._losses: list[float] = []
        self._began = learner.life.steps

    def run(self, tell: Callable[[Epoch], None] = lambda epoch: None) -> list[Epoch]:
        """Train; `tell` hears of each epoch when it is over."""
        learner = self.learner
        learner.features.clear()  # one budget, and the maps are of this set now
        self.maps.open()
        learner.settling = self.settling
        self._arriving = Arriving(
            learner.trainer.trained, self.steps, self.window, learner.settings.rate
        )
        self.settling.scorer.start(learner.trainer.trained)
        before, began = learner.ledger.totals(), _spent(learner)
        told: list[Epoch] = []
        for start in range(0, self.steps, self.steps_in_epoch):
            order = self._rng.permutation(len(self.pictures))
            self._epoch(start, order)
            last = start + self.steps_in_epoch >= self.steps
            asked = last or (len(told) + 1) % self.answer_every == 0
            told.append(self._told(len(told) + 1, before, began, asked=asked))
            tell(told[-1])
        self._finish()
        return told

    def _epoch(self, start: int, order: Places) -> None:
        batch = self.learner.settings.batch
        for number in range(start, min(self.steps, start + self.steps_in_epoch)):
            self._step(order[(number - start) * batch :][:batch], number)
            if (number + 1) % self.window == 0:
                self._end_window()
        self._read()

    def _step(self, places: Places, number: int) -> None:
        learner = self.learner
        rate = learner.guard.caution * rate_of(number, self.steps, learner.settings.rate)
        with learner.life.timed("build", self._clock):
            maps = self.maps.at(places)
        with learner.life.timed("train", self._clock):
            targets = self._targets[to_device(places, learner.device)]
            self._unread.append((places, learner.trainer.step(maps, targets, rate)))
        self.settling.scorer.after_step(rate)
        learner.ledger.train(learner.trainer.cut, len(places))
        learner.life.steps += 1

    def _probe(self) -> Tensor:
        """A few pictures, always the same, for a score that looks at outputs."""
        return self.learner.floats(self.pictures.images[:PROBED])

    # -- what leaves training ---------------------------------------------------------------

    def _end_window(self) -> None:
        self._read()
        with self.learner.life.timed("build", self._clock):  # what dropping costs, not training
            self._judge()

    def _judge(self) -> None:
        learner = self.learner
        # while the rate rises weights wander because nothing has begun to be learned
        step = learner.life.steps - self._began
        may_freeze = learner.settings.drop and step >= WARM_UP * self.steps
        move = self.settling.read(
            learner.trainer.cut,
            self.progress,
            commonest=self._commonest,
            may_freeze=may_freeze,
            arrived=self._arrived(step) if may_freeze else 0,
        )
        if move is not None:
            self._obey(move)
        learner.guard.end_window()
        self.settling.scorer.start(learner.trainer.trained)

    def _arrived(self, step: int) -> int:
        learner = self.learner
        scores, keep = self.settling.unit_scores, learner.settings.keep_units
        return self._arriving.leading(learner.chain, step, learner.trainer.trained, scores, keep)

    def _obey(self, move: Move) -> None:
        trainer = self.learner.trainer
        if move.cut > trainer.cut:
            trainer.take_averages(move.cut)
            sample = self._rng.choice(len(self.pictures), min(AT_ONCE, len(self.pictures)), False)
            # of the units that leave now and those behind: the ones before are as they were
            maps = trainer.prefix(self.maps.floats(sample))
            adapt_statistics(trainer, maps, start=trainer.cut)
            self.learner.ledger.build(0, len(trainer.chain), len(sample))
        if move.cut != trainer.cut:
            trainer.move_cut(move.cut)
            self.maps.open()
        self.learner.life.drops += move.type == "drop"
        self._tell(Event(move.event, time.time(), self.progress.samples, move.cause, move.cut))

    def _tell(self, event: Event) -> None:
        self.events.append(event)
        self.learner.recent_events.append(event)

    # -- the account ------------------------------------------------------------------------

    def _read(self) -> None:
        """Read the steps since the last reading: the only place that waits for the device."""
        learner, unread = self.learner, self._unread
        self._unread = []
        with learner.life.timed("train", self._clock):
            read = [(at, float(s.loss), bool(s.taken), s.right.tolist()) for at, s in unread]
        for places, loss, taken, right in read:
            self.progress.answered(places, right)
            if taken:
                self._losses.append(loss)
            judged = learner.guard.after_step(loss, taken=taken)
            if judged != "good":
                learner.life.skipped += 1
            if judged in ("back", "anew"):
                learner.trainer.forget_momentum()
                learner.trainer.averages.start_over()
                self.settling.scorer.start(learner.trainer.trained)
                self.maps.open()
                cut, cause = learner.trainer.cut, learner.guard.why
                self._tell(Event("rollback", time.time(), self.progress.samples, cause, cut))
                break  # the steps after it were made with the same spoilt weights
        if self._losses:
            learner.progress.loss = self._losses[-1]

    def _told(self, number: int, before: dict[str, Any], began: float, *, asked: bool) -> Epoch:
        learner = self.learner
        now = learner.ledger.totals()
        spent = {k: now[k] - before[k] for k in ("done", "full", "forward_done", "forward_full")}
        losses, self._losses = self._losses, []
        return Epoch(
            number=number,
            loss=sum(losses) / len(losses) if losses else math.nan,
            accuracy=self.progress.newest_accuracy(len(self.pictures)),
            held_out=self._answered() if asked and self.held_out is not None else None,
            depth=learner.trainer.cut,
            seconds=_spent(learner) - began,
            forward_saved=1 - spent["forward_done"] / max(1, spent["forward_full"]),
            saved=1 - spent["done"] / max(1, spent["full"]),
        )

    def _answered(self) -> float:
        assert self.held_out is not None
        right = 0
        for start in range(0, len(self.held_out), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            _, logits, _ = self.learner.trainer.test(
                self.learner.floats(self.held_out.images[part])
            )
            right += int((logits.argmax(1).cpu().numpy() == self.held_out.targets[part]).sum())
        return right / max(1, len(self.held_out))

    def _finish(self) -> None:
        """Hand the learner back as a stream knows it: its own windows, its own store."""
        learner = self.learner
        if self.settling.probation is not None:
            learner.trainer.move_cut(self.settling.probation.back_to)
        self.maps.close()
        usual = Settling(learner.chain, learner.ledger, learner.settings, learner.probe)
        usual.rule.load_json(self.settling.rule.to_json())
        usual.unit_scores = self.settling.unit_scores
        learner.settling = usual
        usual.scorer.start(learner.trainer.trained)
        learner.rehearsal.open_store()


def _spent(learner: Learner) -> float:
    return learner.life.seconds["train"] + learner.life.seconds["build"]
