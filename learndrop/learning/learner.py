"""One object that learns without end: test, notice, train, drop, bring back.

A page shows the order of things (`learn`); the parts live in files of their own.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learndrop.errors import NotLearnedYet
from learndrop.events import Event
from learndrop.learning import drifts, moving, stepping
from learndrop.learning.batch import Batch, answered
from learndrop.learning.life import Report
from learndrop.learning.noticing import notice
from learndrop.learning.overview import overview
from learndrop.learning.parts import Parts
from learndrop.learning.returning import put_back
from learndrop.learning.versions import pack
from learndrop.stream.messages import Sample


class Learner(Parts):
    """Learns labelled images as they come and drops what it has learned.

    `Parts` says what it is made from, and what that raises.
    """

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

    # -- drift ------------------------------------------------------------------------------

    def bring_back(self, back_to: int, cause: str, *, lost: float = 1.0, **detail: Any) -> None:
        """Train from unit `back_to` on, with a fresh optimizer and a rate for what is lost: at a
        drift, or by somebody who knows of one. `lost` is the share of the right answers that are
        wrong now; `detail` goes into the event."""
        moving.bring_back(self, back_to, cause, lost=lost, **detail)

    # -- whom and what to believe -----------------------------------------------------------

    def take_back(self, parts: Mapping[str, bytes] | None, cause: str, **detail: Any) -> Event:
        """Go on from the weights of an earlier version, or from fresh ones.

        Raises:
            KeyError, RuntimeError: if the parts are not those of this network.
        """
        put_back(self, parts)
        self._new_events = []
        self.tell("rollback", cause, **detail)
        return self._new_events[0]

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
