"""What of a batch is believed and trained on, and how well older, confirmed samples fare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learndrop.belief.reserve import Reserve
from learndrop.belief.sender import RECENT, Ruling
from learndrop.belief.trust import Trust
from learndrop.networks.floats import Floats
from learndrop.replay.buffer import ReplayBuffer
from learndrop.settings import Settings
from learndrop.training.ledger import Ledger
from learndrop.training.trainer import Trainer

PART = 64  # images in one pass


class Belief:
    """The record of every key, and the reserve that the weights are measured on.

    Args:
        settings: shares, size of the reserve, how far the accuracy may fall.
        trainer: answers the reserve.
        ledger: pays for that.
        replay: forgets what is no longer believed.
        floats: makes the network's input of images.

    Attributes:
        best_fitness: highest `fitness` of a published version in this world; None before one.
    """

    def __init__(
        self,
        settings: Settings,
        trainer: Trainer,
        ledger: Ledger,
        replay: ReplayBuffer,
        floats: Floats,
    ) -> None:
        self._settings, self._trainer, self._ledger = settings, trainer, ledger
        self._replay, self._floats = replay, floats
        self.trust = Trust(settings.max_key_share, settings.quarantine_share)
        shape = (settings.image_size, settings.image_size, 3)
        self.reserve = Reserve(shape, settings.reserve_samples)
        self.best_fitness: float | None = None

    def take(
        self,
        keys: Sequence[str],
        images: NDArray[np.uint8],
        targets: NDArray[np.int64],
        ids: NDArray[np.int64],
        right: NDArray[np.bool_],
        known: NDArray[np.bool_],
        names: NDArray[np.int64],
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_], list[Ruling]]:
        """Judge the senders of a batch by its answers; what is believed can be replayed later.

        Args:
            keys: who sent each sample [N].
            images: uint8 [N, S, S, 3].
            targets: class indices [N].
            ids: of the samples [N].
            right: whether each was answered as labelled [N].
            names: what the samples are called outside [N, 2].
            known: False where the label is too new to be answered [N].

        Returns:
            which samples are believed [N], which are trained on [N], and the rulings.
        """
        senders = self.trust.codes(keys)
        rulings = self.heed(self.trust.update(senders, right.tolist(), known))
        believed = self.trust.believed(senders)
        mine = targets[believed], ids[believed], senders[believed], names[believed]
        kept = images[believed], *mine
        self._replay.add(*kept)
        self.reserve.add(*kept)
        return believed, self.trust.chosen(senders), rulings

    def heed(self, rulings: Sequence[Ruling]) -> list[Ruling]:
        """Forget what the quarantined sent last; the rulings that stand.

        Where the reserve too is answered worse, not the labels are wrong: the weights are spoiled.
        """
        standing = []
        for ruling in rulings:
            if not ruling.believed and self.spoiled():
                self.trust.believe(ruling.code)
                continue
            if not ruling.believed:
                self._replay.disown(ruling.code, newest=2 * RECENT)
                self.reserve.disown(ruling.code)
            standing.append(ruling)
        return standing

    def fitness(self) -> float | None:
        """Share of the reserve that the present weights answer right; None if it tells nothing."""
        if not self.reserve.tells:
            return None
        images, targets = self.reserve.held()
        self._ledger.probe(len(targets))
        return self.share_right(images, targets)

    def share_right(self, images: NDArray[np.uint8], targets: NDArray[np.int64]) -> float:
        """Share of images [N, S, S, 3] that the present weights answer right; 0 of none."""
        right = 0
        for at in range(0, len(targets), PART):
            _, logits, _ = self._trainer.test(self._floats(images[at : at + PART]))
            answers = logits.argmax(1).cpu().numpy()
            right += int((answers == targets[at : at + PART]).sum())
        return right / max(1, len(targets))

    def spoiled(self) -> bool:
        """Whether the reserve is answered worse than it was, by more than `rollback_fall`."""
        if self.best_fitness is None:
            return False
        now = self.fitness()
        return now is not None and now < self.best_fitness - self._settings.rollback_fall

    def new_world(self) -> None:
        """A change was believed: older samples and what was usual tell nothing any more."""
        self.trust.new_world()
        self.reserve.clear()
        self.best_fitness = None

    def rows(self) -> dict[str, Any]:
        """For the state, as JSON values."""
        reserve = {"samples": len(self.reserve), "best_accuracy": self.best_fitness}
        return {"keys": self.trust.rows(), "reserve": reserve}

    def tensors(self) -> dict[str, Tensor]:
        """The contents, for a checkpoint."""
        return {name: torch.from_numpy(array) for name, array in self.reserve.arrays().items()}

    def to_json(self) -> dict[str, Any]:
        """The rest of the state, for a checkpoint."""
        return {"trust": self.trust.to_json(), "best_fitness": self.best_fitness}

    def load(self, tensors: Mapping[str, Tensor], data: Mapping[str, Any]) -> None:
        """Take back what `tensors` and `to_json` gave."""
        self.trust.load_json(data["trust"])
        self.best_fitness = data["best_fitness"]
        self.reserve.load({name: tensor.numpy() for name, tensor in tensors.items()})
